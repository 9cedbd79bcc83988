"""The blocks of the identity-mapping study against their formulas, and sizes that are refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ensembles.errors import ModelError
from ensembles.models import architecture, create_model, identity_mappings, list_models
from ensembles.models.identity_mappings import VARIANTS
from ensembles.models.parts import ResidualBlock, residual_blocks

GATED = ("exclusive-gating", "shortcut-gating", "shortcut-gating-0")


def small(name: str, **arguments: Any) -> nn.Module:
    """A network whose BatchNorm layers do something."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = create_model(name, 5, **arguments).eval()
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                nn.init.uniform_(module.weight, 0.5, 1.5)
                nn.init.normal_(module.bias, 0, 0.3)
    return model


def variant(name: str, depth: int = 8, **arguments: Any) -> nn.Module:
    return small(f"resnet110-{name}" if name != "original" else "resnet164", depth=depth, width=4,
                 bottleneck=False, **arguments)  # fmt: skip


def formula(name: str, block: ResidualBlock, x: Tensor) -> Tensor:
    """Figures 2 and 4 of He et al. 2016, written out for a block of unchanged shape."""
    layers = list(block.get_submodule("convolutions").children())
    start = x
    if name == "relu-only-preact":
        start, layers = F.relu(x), layers[1:]
    conv1, bn1, _, conv2, *rest = layers
    branch = conv2(F.relu(bn1(conv1(start))))
    if name != "bn-after-add":
        branch = rest[0](branch)
    gate = torch.sigmoid(block.get_submodule("gate")(x)) if name in GATED else x
    sums: dict[str, Callable[[], Tensor]] = {
        "original": lambda: F.relu(x + branch),
        "dropout-shortcut": lambda: F.relu(x + branch),
        "constant-scaling": lambda: F.relu(0.5 * x + 0.5 * branch),
        "exclusive-gating": lambda: F.relu((1 - gate) * x + gate * branch),
        "shortcut-gating": lambda: F.relu((1 - gate) * x + branch),
        "shortcut-gating-0": lambda: F.relu((1 - gate) * x + branch),
        "conv-shortcut": lambda: F.relu(block.shortcut(x) + branch),
        "bn-after-add": lambda: F.relu(block.get_submodule("bn")(x + branch)),
        "relu-before-add": lambda: x + F.relu(branch),
        "relu-only-preact": lambda: x + branch,
    }
    return sums[name]()


@pytest.mark.parametrize("name", VARIANTS)
def test_variants_compute_their_formula(name: str, generator: torch.Generator) -> None:
    block = residual_blocks(variant(name))[0]
    x = torch.randn(2, 4, 8, 8, generator=generator)
    torch.testing.assert_close(block(x), formula(name, block, x))


@pytest.mark.parametrize("name", VARIANTS)
def test_a_variant_without_its_branch_keeps_its_shortcut(
    name: str, generator: torch.Generator
) -> None:
    """Closing the branch by hand gives what a block that is switched off gives."""
    block = residual_blocks(variant(name))[1]
    x = torch.randn(2, 4, 8, 8, generator=generator)
    block.branch_active = False
    off = block(x)
    block.branch_active = True
    assert not torch.equal(block(x), off)
    for parameter in block.branch_end.parameters():
        nn.init.zeros_(parameter)
    torch.testing.assert_close(block(x), off)


def test_dropout_on_the_shortcut_only_while_training() -> None:
    block = residual_blocks(variant("dropout-shortcut"))[0]
    block.branch_active = False
    x = torch.ones(1, 4, 8, 8)
    assert torch.equal(block(x), x)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        assert set(block.train()(x).unique().tolist()) == {0.0, 2.0}


@pytest.mark.parametrize(("name", "bias"), [("shortcut-gating", -6.0), ("shortcut-gating-0", 0.0)])
def test_gates_begin_closed_or_half_open(name: str, bias: float) -> None:
    for block in residual_blocks(variant(name)):
        assert torch.equal(block.get_parameter("gate.bias"), torch.full_like(
            block.get_parameter("gate.bias"), bias))  # fmt: skip


def test_the_original_is_the_residual_network() -> None:
    """The same weights in the same order compute the same as `resnet8`."""
    ours, known = variant("original"), small("resnet20", depth=8, width=4)
    ours.load_state_dict(dict(zip(ours.state_dict(), known.state_dict().values(), strict=True)))
    images = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(ours(images), known(images))


def test_ten_variants_at_six_depths() -> None:
    names = set(list_models("ensembles"))
    changed = [name for name in VARIANTS if name != "original"]
    for depth in identity_mappings.DEPTHS:
        assert f"resnet{depth}" in names
        assert {f"resnet{depth}-{name}" for name in (*changed, "full-preact")} <= names
    errors = {name: architecture(f"resnet110-{name}").published_error for name in changed}
    assert errors["constant-scaling"] == 12.35
    assert errors["dropout-shortcut"] is None
    assert architecture("resnet110-full-preact").published_error == 6.37


def test_pyramids_grow_evenly() -> None:
    model = small("pyramidnet110-48", depth=14, widening=12, width=4)
    widths = [
        block.get_submodule("convolutions.4").out_channels for block in residual_blocks(model)
    ]
    assert widths == [6, 8, 10, 12, 14, 16]


@pytest.mark.parametrize(
    ("name", "depth", "message"),
    [
        ("wrn-28-10", 27, r"depth 27 is not 6n\+4"),
        ("densenet-bc-100-12", 99, r"depth 99 is not 6n\+4"),
        ("resnext29-8x64", 30, r"depth 30 is not 9n\+2"),
        ("resnet20-conv-shortcut", 21, r"depth 21 is not 6n\+2"),
    ],
)
def test_depths_that_do_not_fit_are_refused(name: str, depth: int, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        create_model(name, depth=depth)
