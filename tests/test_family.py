"""Every architecture of the field, and a few more of the libraries', through every analysis.

Each is built small, with statistics that are not those of the identity. Names of our own that
differ in depth or width alone are one small network, which is examined once; those of the libraries
keep their depth, and have fewer channels.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from functools import cache, partial

import pytest
import torch
from torch import Tensor, nn

import ensembles
from ensembles.decomposition import Decomposition
from ensembles.engine import check_lesions, evaluate
from ensembles.errors import LesionError, PathError
from ensembles.lesions import Lesion, exchangeable, intact, single_deletions
from ensembles.models import architecture, field_models, list_models
from ensembles.numerics import differentiable
from ensembles.unravelling.linearization import Linearizer
from ensembles.unravelling.oracle import path_gradients, path_logits
from ensembles.unravelling.path_counts import graph_lengths
from ensembles.unravelling.places import Place
from ensembles.unravelling.spectra import Logits, backward, forward, head_cotangent
from ensembles.unravelling.sum_checks import check_gradient, check_logits, reference_gradients
from tests.narrow import narrow

_LAYOUT = (4, "M", 4, 4, "M")
# How each class is built small, the side of its images, and the kinds of block that it must have.
SMALL: dict[str, tuple[dict[str, object], int, set[str]]] = {
    "LeNet5": ({}, 32, {"plain"}),
    "NetworkInNetwork": ({"channels": ((4, 4, 4), (4, 4, 4), (4, 4))}, 16, {"plain"}),
    "CifarVGG": ({"layout": _LAYOUT, "hidden": (4,)}, 8, {"plain"}),
    "BNInception": ({"width": 0.0625}, 64, {"parallel"}),
    "InceptionResNetV1": ({"blocks": (1, 1, 1), "width": 0.0625, "hidden": 8}, 96, {"residual"}),
    "HighwayNetwork": ({"channels": (4, 6), "layers": (3, 2), "hidden": 4}, 8, {"gated"}),
    "CifarResNet": ({"depth": 8, "width": 4}, 8, {"residual"}),
    "CifarProjectionResNet": ({"depth": 8, "width": 4}, 8, {"residual"}),
    "CifarPreResNet": ({"depth": 8, "width": 4}, 8, {"residual"}),
    "PreResNet": ({"blocks": (1, 1, 1, 1), "width": 4}, 32, {"residual"}),
    "CifarStemResNet": ({"width": 4}, 8, {"residual"}),
    "CifarResNetVariant": ({"depth": 8, "width": 4}, 8, {"residual"}),
    "CifarSharedResNet": ({"depth": 20, "width": 4}, 8, {"residual"}),
    "CifarWideResNet": ({"depth": 10, "widening": 1, "width": 4}, 8, {"residual"}),
    "CifarRiR": ({"channels": (4, 6), "units": (2, 2)}, 8, {"two-stream"}),
    "CifarPyramidNet": ({"depth": 8, "widening": 6, "width": 4}, 8, {"residual"}),
    "CifarDenseNet": ({"depth": 10, "growth": 2}, 8, {"dense"}),
    "CifarResNeXt": ({"depth": 11, "groups": 2, "group_width": 2, "width": 4}, 8, {"residual"}),
    "CifarFractalNet": ({"channels": (4, 6)}, 8, {"fractal"}),
    "ViT": ({"layers": 2, "width": 8, "heads": 2, "patch": 4, "size": 8}, 8, {"residual"}),
}
GATED = ("exclusive-gating", "shortcut-gating", "shortcut-gating-0")
# What the channels of a library's network are divided by, the side of its images, and its blocks.
NARROW = {
    "alexnet": (16, 64, {"plain"}),
    "vgg16": (32, 32, {"plain"}),
    "vgg19": (32, 32, {"plain"}),
    "googlenet": (8, 32, {"parallel"}),
    "inception_v3": (16, 80, {"parallel"}),
    "inception_v4": (32, 80, {"parallel"}),
    "inception_resnet_v2": (16, 80, {"residual"}),
    "legacy_xception": (4, 32, {"residual"}),
    "resnet18": (16, 16, {"residual"}),
    "resnet34": (16, 16, {"residual"}),
    "resnet50": (16, 16, {"residual"}),
    "resnet101": (16, 16, {"residual"}),
    "resnet152": (16, 16, {"residual"}),
    "resnet200": (16, 16, {"residual"}),
    "wide_resnet50_2": (32, 16, {"residual"}),
    "resnext50_32x4d": (4, 16, {"residual"}),
    "densenet121": (8, 32, {"dense"}),
    "torchvision:mnasnet0_5": (8, 16, {"residual"}),
}
LIBRARIES = {
    "torchvision:squeezenet1_1": (32, {"parallel"}),
    "torchvision:shufflenet_v2_x0_5": (32, {"parallel"}),
    "timm:test_resnet": (64, {"residual"}),
    "timm:test_convnext": (32, {"residual"}),
}


def small(name: str) -> tuple[Callable[[], nn.Module], int, set[str]]:
    """How to build an architecture small, the side of its images, and its kinds of block."""
    if name in NARROW:
        factor, side, kinds = NARROW[name]
        return partial(narrow, name, factor), side, kinds
    if name in LIBRARIES:
        return partial(ensembles.create_model, name, 5), *LIBRARIES[name]
    build = architecture(name).build
    assert isinstance(build, partial)
    assert not build.args
    given = build.keywords
    arguments, side, kinds = SMALL[build.func.__name__]
    arguments = {**given, **arguments, "num_classes": 5}
    if given.get("bottleneck"):
        arguments["depth"] = 11
    if build.func.__name__ == "CifarStemResNet":
        arguments["depth"] = 18 if given["depth"] < 50 else 50  # basic blocks, or bottlenecks
    kinds = {"gated"} if given.get("variant") in GATED else kinds
    return partial(build.func, **arguments), side, kinds


def key(name: str) -> str:
    """The same for names whose small networks are the same."""
    build, side, _ = small(name)
    assert isinstance(build, partial)
    return f"{build.func.__module__}.{build.func.__name__} {build.args} {build.keywords} {side}"


NAMES = [*list_models("ensembles"), *NARROW, *LIBRARIES]
FIRST = {key(name): name for name in reversed(NAMES)}
MOST = 12  # blocks that are lesioned one by one in a long network
SLOW = ("resnet101", "resnet152", "resnet200", "densenet121", "inception_v3", "inception_v4",
        "inception_resnet_v2", "torchvision:mnasnet0_5", "timm:test_convnext")  # fmt: skip
EACH = [pytest.param(name, marks=pytest.mark.slow) if name in SLOW else name for name in NAMES]


def test_the_whole_field_is_examined() -> None:
    assert set(field_models()) <= set(NAMES)


@cache
def taken_apart(name: str) -> tuple[nn.Module, Decomposition, Tensor]:
    if architecture(name).library == "timm":
        pytest.importorskip("timm")
    build, side, _ = small(name)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        model = build().double().eval()
        for module in model.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                nn.init.uniform_(module.running_mean, -0.3, 0.3)
                nn.init.uniform_(module.running_var, 0.5, 1.5)
                nn.init.uniform_(module.weight, 0.5, 1.5)
                nn.init.uniform_(module.bias, -0.3, 0.3)
            elif isinstance(module, nn.Conv2d) and module.bias is not None:
                nn.init.uniform_(module.bias, -0.5, 0.5)
        images = torch.randn(2, 3, side, side, dtype=torch.float64)
    return model, ensembles.decompose(model, images), images


def once(name: str) -> str:
    """The name under which the same small network is examined."""
    return FIRST[key(name)]


def every_kind(net: Decomposition) -> Iterator[Lesion]:
    """Lesions of each kind, those without meaning for a network among them.

    Of a long network, whose stages repeat one block, some blocks from the first to the last.
    """
    n = len(net)
    some = sorted({1 + round(place * (n - 1) / (MOST - 1)) for place in range(MOST)})
    yield from (one for one in single_deletions(n) if set(one.blocks) <= set(some))
    if n > 2:
        yield Lesion("delete", (1, n))
    yield from (Lesion("duplicate", (block,)) for block in some)
    shapes = [(block.in_shape, block.out_shape) for block in net]
    pairs = [group[:2] for group in exchangeable(shapes, net.transitions)] or [(1, 2)]
    yield from (Lesion("reorder", swaps=((a, b),)) for a, b in pairs if n > 1)
    for block in some:
        roads = range(1, net.road_counts[block - 1] + 2)
        yield from (Lesion("drop", roads=((block, road),)) for road in roads)


@pytest.mark.parametrize("name", EACH)
def test_the_blocks_are_found_and_compute_what_the_model_computes(name: str) -> None:
    model, net, images = taken_apart(once(name))
    with torch.no_grad():
        assert torch.allclose(net(images), model(images), rtol=1e-9, atol=1e-12)
    assert {block.kind for block in net} == small(name)[2]
    assert sum(graph_lengths(net).values()) >= 1


@pytest.mark.parametrize("name", EACH)
def test_each_kind_of_lesion_runs_or_is_refused(name: str) -> None:
    if once(name) != name:
        assert key(name) == key(once(name))
        return
    _, net, images = taken_apart(name)
    lesions, kinds = [intact()], set()
    for lesion in every_kind(net):
        try:
            check_lesions(net, [lesion])
        except LesionError as error:
            assert str(error)
            assert "\n" not in str(error)
        else:
            lesions.append(lesion)
            kinds.add(lesion.kind)
    assert "delete" in kinds
    data = [(images.float(), torch.tensor([0, 1]))]
    single = copy.deepcopy(net).float()  # the other tests of the network see it unrounded
    shared = evaluate(single, data, lesions, device="cpu")
    direct = evaluate(single, data, lesions, device="cpu", engine="direct")
    for one, other in zip(shared, direct, strict=True):
        assert (one.correct, one.total, one.nonfinite) == (other.correct, 2, other.nonfinite)
        assert one.loss_sum == pytest.approx(other.loss_sum, rel=1e-3, abs=1e-4)


@pytest.mark.parametrize("name", EACH)
def test_paths_add_up_or_are_refused(name: str) -> None:
    if once(name) != name:
        assert key(name) == key(once(name))
        return
    _, net, images = taken_apart(name)
    choices = sum(block.has_shortcut for block in net)
    if not choices:
        with pytest.raises(PathError, match="no block has a shortcut; expected residual"):
            Linearizer(net)
        return
    with differentiable():
        linear = Linearizer(net).at(images)
        spectrum = forward(linear)
        with torch.no_grad():
            assert check_logits(spectrum, net(images)) < 1e-9
        cotangent, _ = head_cotangent(linear.logits, torch.tensor([0, 1]))
        place = Place("input")
        expected = reference_gradients(net, images, cotangent, [place])[place]
        *_, (last, rows) = backward(linear, cotangent)
        assert last == place
        data, powers = rows.data[: rows.count], rows.exponent[: rows.count]
        assert check_gradient(data, powers, rows.log2_norms(), expected, place) < 1e-9
        if choices == len(net) <= 7:
            compare_with_single_paths(net, images, cotangent, data * torch.exp2(powers).view(
                *powers.shape, 1, 1, 1), spectrum)  # fmt: skip


def compare_with_single_paths(
    net: Decomposition, images: Tensor, cotangent: Tensor, by_length: Tensor, spectrum: Logits
) -> None:
    """Hold the spectra against every path by itself."""
    summed = torch.zeros_like(by_length)
    for choice, gradient in path_gradients(net, images, cotangent).items():
        summed[sum(choice)] += gradient
    assert torch.allclose(summed, by_length, rtol=1e-8, atol=1e-9 * float(by_length.abs().max()))
    parts, constant = path_logits(net, images)
    scale = float(parts.abs().max())
    assert torch.allclose(parts, spectrum.parts, rtol=1e-8, atol=1e-9 * scale)
    assert torch.allclose(constant, spectrum.constant, rtol=1e-8, atol=1e-9 * scale)
