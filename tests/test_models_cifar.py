"""The CIFAR families: sizes, layout, shortcuts, and public weights."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import fx, nn

from ensembles.models import preresnet, resnet, vgg
from ensembles.models.parts import Architecture, ZeroPadShortcut, require_depth, residual_blocks

ALL = {entry.name: entry for entry in (*resnet.FAMILY, *preresnet.FAMILY, *vgg.FAMILY)}
SMALL = ["resnet20", "preresnet20", "preresnet164", "vgg15", "cifar_vgg11_bn"]

PARAMETERS = {
    "resnet20": 269_722,
    "resnet32": 464_154,
    "resnet44": 658_586,
    "resnet56": 853_018,
    "resnet110": 1_727_962,
    "resnet1202": 19_421_274,
    "preresnet20": 269_722,
    "preresnet110": 1_727_962,
    "preresnet164": 1_703_258,
    "preresnet1001": 10_327_706,
    "cifar_vgg16_bn": 15_253_578,
    # 13 convolutions without biases, their BatchNorms, and two linear layers.
    "vgg15": 3 * 128 * 9 + 12 * 128 * 128 * 9 + 13 * 256 + 128 * 129 + 128 * 10 + 10,
}


def build(name: str, **arguments: int) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return ALL[name].build(**arguments)


@pytest.mark.parametrize("name", PARAMETERS)
def test_parameter_counts_are_the_published_ones(name: str) -> None:
    with torch.device("meta"):
        model = ALL[name].build(num_classes=10)
    assert sum(parameter.numel() for parameter in model.parameters()) == PARAMETERS[name]


@pytest.mark.parametrize("name", SMALL)
def test_any_number_of_classes_and_channels(name: str) -> None:
    model = build(name, num_classes=7, in_channels=1).eval()
    assert model(torch.zeros(2, 1, 32, 32)).shape == (2, 7)


@pytest.mark.parametrize("name", SMALL)
def test_symbolic_tracing_gives_the_same_logits(name: str, generator: torch.Generator) -> None:
    model = build(name).eval()
    images = torch.randn(2, 3, 32, 32, generator=generator)
    assert torch.equal(fx.symbolic_trace(model)(images), model(images))


@pytest.mark.parametrize("entry", ALL.values(), ids=lambda entry: entry.name)
def test_entries_say_where_they_come_from(entry: Architecture) -> None:
    assert entry.library == "ensembles"
    assert entry.input_size == (3, 32, 32)
    assert entry.num_classes == 10
    assert "arXiv" in entry.paper


def test_blocks_are_counted_and_named_as_published() -> None:
    model = build("resnet110")
    names = {block: name for name, block in model.named_modules()}
    blocks = residual_blocks(model)
    assert len(blocks) == 54
    assert [names[blocks[i]] for i in (0, 17, 18, 53)] == [
        "layer1.0",
        "layer1.17",
        "layer2.0",
        "layer3.17",
    ]


def test_zero_pad_shortcut_subsamples_and_pads_on_both_sides(generator: torch.Generator) -> None:
    x = torch.randn(2, 4, 6, 6, generator=generator)
    out = ZeroPadShortcut(4, 8, 2)(x)
    assert out.shape == (2, 8, 3, 3)
    assert torch.equal(out[:, 2:6], x[:, :, ::2, ::2])
    assert not out[:, :2].any()
    assert not out[:, 6:].any()


@pytest.mark.parametrize("name", ["preresnet20", "preresnet164"])
def test_first_block_of_each_stage_activates_both_roads(
    name: str, generator: torch.Generator
) -> None:
    model = build(name).eval()
    for stage in ("layer1", "layer2", "layer3"):
        first, second = getattr(model, stage)[0], getattr(model, stage)[1]
        x = torch.randn(1, first.bn1.num_features, 8, 8, generator=generator)
        first.branch_active = second.branch_active = False
        assert torch.equal(first(x), first.shortcut(first.relu1(first.bn1(x))))
        y = torch.randn(1, second.bn1.num_features, 8, 8, generator=generator)
        assert torch.equal(second(y), y)


def test_post_activation_block_without_branch_is_a_relu(generator: torch.Generator) -> None:
    block = build("resnet20").eval().get_submodule("layer1.1")
    x = torch.randn(1, 16, 8, 8, generator=generator)
    block.branch_active = False  # type: ignore[assignment]
    assert torch.equal(block(x), x.relu())


def test_vgg15_has_the_layout_of_the_lesion_paper() -> None:
    features = build("vgg15").get_submodule("features")
    convolutions = 0
    pooled_after = []
    for layer in features.children():
        if isinstance(layer, nn.Conv2d):
            convolutions += 1
            assert layer.out_channels == 128
        if isinstance(layer, nn.MaxPool2d):
            pooled_after.append(convolutions)
    assert convolutions == 13
    assert pooled_after == [2, 4, 7, 10, 13]


def test_he_initialisation() -> None:
    model = build("vgg15")
    weight = model.get_parameter("features.3.weight")
    assert weight.std().item() == pytest.approx((2 / (128 * 9)) ** 0.5, rel=0.02)
    assert not model.get_parameter("classifier.2.bias").any()


def test_a_depth_that_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match=r"depth 21 is not 6n\+2; take for example 20"):
        resnet.CifarResNet(21)
    with pytest.raises(ValueError, match=r"depth 32 is not 9n\+2"):
        preresnet.CifarPreResNet(32, bottleneck=True)
    assert require_depth(110, 2, 2) == 18


@pytest.mark.assets
@pytest.mark.parametrize("depth", [20, 32, 44])
def test_public_weights_load_unchanged(assets: Path, depth: int) -> None:
    (file,) = (assets / "checkpoints").glob(f"resnet{depth}-*.th")
    loaded = torch.load(file, map_location="cpu", weights_only=True)["state_dict"]
    model = build(f"resnet{depth}")
    model.load_state_dict({key.removeprefix("module."): value for key, value in loaded.items()})
