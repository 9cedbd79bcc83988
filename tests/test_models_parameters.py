"""Every architecture of the field has the number of parameters that it is known for."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from ensembles.catalogue.architectures import kept_structures
from ensembles.models import architecture, create_model, field_models

# Counted from public implementations, or as published.
PARAMETERS = {
    "lenet5": 62_006,
    "alexnet": 61_100_840,
    "vgg16": 138_357_544,
    "vgg19": 143_667_240,
    "nin": 966_986,
    "nin_bn": 969_822,
    "bn_inception": 11_295_240,
    "inception_v3": 27_161_264,
    "timm:inception_v3": 23_834_568,
    "inception_v4": 42_679_816,
    "inception_resnet_v1": 23_995_624,
    "inception_resnet_v2": 55_843_464,
    "legacy_xception": 22_855_952,
    "resnet18": 11_689_512,
    "resnet34": 21_797_672,
    "resnet50": 25_557_032,
    "resnet101": 44_549_160,
    "resnet152": 60_192_808,
    "resnet200": 64_673_832,
    "preresnet200": 64_666_280,
    "resnet110-stochastic-depth": 1_727_962,
    "resnet110-full-preact": 1_727_962,
    "resnet164-full-preact": 1_703_258,
    "wrn-28-10": 36_479_194,
    "wrn-16-8": 10_961_370,
    "wrn-40-4": 8_949_210,
    "pyramidnet110-48": 1_772_706,
    "pyramidnet110-84": 3_904_446,
    "pyramidnet110-270": 28_485_477,
    "densenet40-12": 1_019_722,
    "densenet-bc-100-12": 769_162,
    "resnext29-8x64": 34_426_698,
    "fractalnet20": 33_724_618,
    "rir": 9_492_980,
    # Patches, places, six layers, norm and head.
    "vit12": 193 * 64 + 16 * 64 + 6 * (12 * 64**2 + 13 * 64) + 2 * 64 + 65 * 10,
}
UNCHANGED = [
    "constant-scaling",
    "dropout-shortcut",
    "bn-after-add",
    "relu-before-add",
    "relu-only-preact",
]


def count(name: str, **arguments: Any) -> int:
    with torch.device("meta"):
        model = create_model(name, **arguments)
    return sum(parameter.numel() for parameter in model.parameters())


@pytest.mark.parametrize("name", PARAMETERS)
def test_parameters(name: str) -> None:
    if architecture(name).library == "timm":
        pytest.importorskip("timm")
    assert count(name) == PARAMETERS[name]


def test_the_sixteen_layers_of_a_cifar_vgg_are_three_linear_ones_besides_thirteen() -> None:
    """What the docstring says of other classifiers, and of other networks of that name."""
    with torch.device("meta"):
        model = create_model("cifar_vgg16_bn")
    kinds = [type(module) for module in model.modules()]
    assert (kinds.count(nn.Conv2d), kinds.count(nn.Linear)) == (13, 3)
    assert count("cifar_vgg16_bn", hidden=()) == 14_728_266
    assert count("cifar_vgg16_bn", hidden=(4096, 4096)) == 33_646_666


def test_a_bottleneck_in_place_of_each_basic_block_of_110_layers_makes_164() -> None:
    """The network that is known as PreResNet-110 elsewhere."""
    assert count("preresnet110", depth=164, bottleneck=True) == count("preresnet164")
    assert kept_structures()["preresnet164"].blocks == kept_structures()["preresnet110"].blocks


def test_grey_images_and_auxiliary_heads() -> None:
    assert count("lenet5", in_channels=1) == 61_706
    assert count("googlenet", aux_logits=False) == 6_624_904


@pytest.mark.parametrize("variant", UNCHANGED)
def test_variants_of_the_block_that_add_no_parameters(variant: str) -> None:
    assert count(f"resnet110-{variant}") == count("resnet110")
    assert count(f"resnet164-{variant}") == count("resnet164")


@pytest.mark.parametrize(
    ("variant", "biases"), [("exclusive-gating", True), ("conv-shortcut", False)]
)
def test_variants_of_the_block_that_add_a_convolution(variant: str, biases: bool) -> None:
    """Each of the 54 blocks has one more of 1x1; it has biases, or a BatchNorm."""
    shapes = [(16, 16)] * 18 + [(16, 32)] + [(32, 32)] * 17 + [(32, 64)] + [(64, 64)] * 17
    added = sum(a * b + b * (1 if biases else 2) for a, b in shapes)
    assert count(f"resnet110-{variant}") == count("resnet110") + added


def test_every_name_of_the_field_is_there_with_its_paper() -> None:
    pytest.importorskip("timm")
    for name in field_models():
        entry = architecture(name)
        assert entry.name == name
        assert entry.family
        assert "arXiv" in entry.paper or "1998" in entry.paper
        assert entry.published_on
