"""Training with dropped blocks: how many, how often, and what they leave alone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file
from trainings import QUICK, epochs_of, quick

from ensembles.errors import UsageError
from ensembles.models import create_model
from ensembles.models.parts import residual_blocks
from ensembles.training import (
    BlockDropping,
    fold_survival,
)
from ensembles.training.stochastic_depth import drop_branches, dropping_for


@settings(max_examples=15, deadline=None)
@given(blocks=st.integers(1, 60), data=st.data())
def test_paths_only_draws_exactly_so_many_blocks(blocks: int, data: st.DataObject) -> None:
    exactly = data.draw(st.integers(1, blocks))
    rule = BlockDropping.paths_only(blocks, exactly)
    drawn = rule.draw(torch.Generator().manual_seed(blocks))
    assert len(drawn) == blocks
    assert sum(drawn) == exactly
    assert rule.drops == (exactly < blocks)


def test_stochastic_depth_decays_linearly_and_is_drawn_at_that_rate() -> None:
    rule = BlockDropping.stochastic_depth(54, 0.5)
    assert rule.survival[0] == pytest.approx(1 - 0.5 / 54)
    assert rule.survival[-1] == 0.5
    assert sum(rule.survival) == pytest.approx(40.25)
    generator = torch.Generator().manual_seed(0)
    drawn = torch.tensor([rule.draw(generator) for _ in range(2000)], dtype=torch.float64)
    assert torch.allclose(drawn.mean(0), torch.tensor(rule.survival).double(), atol=0.05)


@pytest.mark.parametrize("name", ["resnet20", "preresnet20", "preresnet164"])
def test_folded_weights_scale_every_branch(name: str, generator: torch.Generator) -> None:
    model = create_model(name, num_classes=4).eval()
    blocks = residual_blocks(model)
    rule = BlockDropping.stochastic_depth(len(blocks), 0.3)
    folded = fold_survival(model, rule)
    assert folded.state_dict().keys() == model.state_dict().keys()
    for block, scaled, share in zip(blocks, residual_blocks(folded), rule.survival, strict=True):
        x = torch.randn(2, width_of(block), 8, 8, generator=generator)
        entering = block.pre(x)
        expected = block.post(block.shortcut(entering) + share * block.branch(entering))
        torch.testing.assert_close(scaled(x), expected, rtol=1e-4, atol=1e-4)


def width_of(block: torch.nn.Module) -> int:
    first = next(module for module in block.modules() if hasattr(module, "weight"))
    return int(getattr(first, "in_channels", getattr(first, "num_features", 0)))


def test_a_dropped_branch_is_not_computed_and_gets_no_gradient() -> None:
    model = create_model("preresnet20", num_classes=3)
    blocks = residual_blocks(model)
    drop_branches(blocks, [number != 1 for number in range(len(blocks))])
    model(torch.zeros(2, 3, 8, 8)).sum().backward()
    assert all(parameter.grad is None for parameter in blocks[1].parameters())
    assert all(parameter.grad is not None for parameter in blocks[2].parameters())


@pytest.mark.parametrize(
    ("name", "depth", "paths", "message"),
    [
        ("preresnet20", 1.5, None, "stochastic depth 1.5; expected the survival probability"),
        ("preresnet20", 0.5, 3, "exclude each other"),
        ("preresnet20", 0.0, 10, "paths-only 10, but preresnet20 has 9 blocks; expected 1 to 9"),
        ("preresnet20", 0.0, 0, "paths-only 0, but preresnet20 has 9 blocks"),
        ("vgg15", 0.5, None, "vgg15 has no residual blocks that can be dropped"),
    ],
)
def test_rules_that_cannot_be(name: str, depth: float, paths: int | None, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        dropping_for(create_model(name, num_classes=2), name, depth, paths)
    assert message in str(caught.value)


def test_dropping_nothing_equals_ordinary_training_step_by_step(tmp_path: Path) -> None:
    one_step = replace(QUICK, batch_size=16)
    plain = quick(tmp_path / "plain", recipe=one_step)
    rules: dict[str, dict[str, object]] = {
        "depth-0": {"stochastic_depth": 0.0},
        "depth-1": {"stochastic_depth": 1.0},
        "paths-9": {"paths_only": 9},
    }
    for name, options in rules.items():
        other = quick(tmp_path / name, recipe=one_step, **options)
        assert epochs_of(tmp_path / name) == epochs_of(tmp_path / "plain")
        assert other.weights.read_bytes() == plain.weights.read_bytes()


def test_dropping_blocks_changes_the_training(tmp_path: Path) -> None:
    quick(tmp_path / "plain")
    rules: dict[str, dict[str, object]] = {
        "depth": {"stochastic_depth": 0.5},
        "paths": {"paths_only": 4},
    }
    for name, options in rules.items():
        result = quick(tmp_path / name, **options)
        assert epochs_of(tmp_path / name) != epochs_of(tmp_path / "plain")
        assert load_file(result.weights).keys() == create_model("preresnet20").state_dict().keys()
