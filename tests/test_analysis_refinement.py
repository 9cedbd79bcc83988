"""Refinement against loops with autograd, and values known beforehand."""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from by_hand import Function, Loop, Unit, loop_of
from nested_networks import (
    ClassAttention,
    CrossStage,
    Dense,
    Levels,
    LongSkip,
    Network,
    OneInput,
    Reminded,
    Reversible,
    made,
)
from networks import build, images_for
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
from torch import Tensor, nn

import ensembles
from ensembles.analyses.kinds import ANALYSES
from ensembles.errors import UsageError
from ensembles.plots import plot_analysis
from ensembles.plots.refinement import curves_by_block, estimation_errors

PLAN = [("pre", 6, 1), ("pre", 6, 1), ("pre", 8, 2), ("pre", 8, 1)]


class Case(NamedTuple):
    """A small network, its values, and its table."""

    loop: Loop
    labels: Tensor
    xs: list[Tensor]
    table: pd.DataFrame

    def rest(self, place: int, x: Tensor) -> Tensor:
        for unit in self.loop.units[place:]:
            x = unit(x)
        return self.loop.head(x)

    def shortcuts(self, place: int, x: Tensor) -> Tensor:
        for unit in self.loop.units[place:]:
            x = without(unit, x)
        return self.loop.head(x)

    def slope(self, function: Function, x: Tensor) -> Tensor:
        x = x.detach().requires_grad_()
        with torch.enable_grad():
            loss = F.cross_entropy(function(x), self.labels, reduction="sum")
            (found,) = torch.autograd.grad(loss, x)
        return found.flatten(1)


def without(unit: Unit, x: Tensor) -> Tensor:
    return unit.finish(x, torch.zeros_like(unit.branch(x)))


@pytest.fixture(scope="module")
def case() -> Case:
    model = build(PLAN, seed=3).double()
    images, labels = images_for(model, 40)
    images, loop = images.double(), loop_of(model)
    net, data = ensembles.decompose(model, images[:4]), [(images, labels)]
    table = ensembles.analyze(
        net, data, "refinement", reference=data, train=40, model="small", batch_size=16
    )
    with torch.no_grad():
        xs = [loop.stem(images)]
        for unit in loop.units:
            xs.append(unit(xs[-1]))
    return Case(loop, labels, xs, table)


@torch.no_grad()
def test_errors_of_estimates_are_those_of_a_loop(case: Case) -> None:
    table, xs = case.table, case.xs
    assert table["stage"].tolist() == [1, 1, 1, 2, 2]
    for place, end in ((0, 2), (1, 2), (3, 4)):
        error, rms = xs[place] - xs[end], xs[end].square().mean().sqrt()
        row = table.iloc[place]
        assert row["error"] == pytest.approx(float(error.mean() / rms), rel=1e-3, abs=1e-5)
        spread = float(error.std(correction=0) / rms)
        assert row["error_sd"] == pytest.approx(spread, rel=1e-3)
        flat = error.flatten(1)
        gram = flat @ flat.T
        common = (gram.sum() - gram.trace()) / (len(flat) * (len(flat) - 1))
        assert row["bias_share"] == pytest.approx(float(common / gram.trace() * 40), rel=1e-3)
        assert row["error_low"] <= row["error"] <= row["error_high"]


@torch.no_grad()
def test_steps_are_those_of_autograd(case: Case) -> None:
    table, xs, labels = case.table, case.xs, case.labels
    answers = [case.shortcuts(place, x) for place, x in enumerate(xs)]
    cut = [F.cross_entropy(one, labels, reduction="none") for one in answers]
    right = [(one.argmax(1) == labels).double().mean() for one in answers]
    assert table["loss"].tolist() == pytest.approx([float(one.mean()) for one in cut], rel=1e-4)
    assert table["accuracy"].tolist() == pytest.approx([float(one) for one in right])
    for place, unit in enumerate(case.loop.units, 1):
        base = without(unit, xs[place - 1])
        added = (xs[place] - base).flatten(1)
        at = place if place == 3 else place - 1  # a transition's input lives in another space
        slope = case.slope(partial(case.rest, at), xs[at])
        lens = case.slope(partial(case.shortcuts, place), base)
        change, first = cut[place] - cut[place - 1], (added * lens).sum(1)
        wanted = {
            "cosine": F.cosine_similarity(added, -slope).mean(),
            "lens_cosine": F.cosine_similarity(added, -lens).mean(),
            "change": change.mean(),
            "first_order": first.mean(),
            "explained": 1 - ((change - first) ** 2).sum() / (change**2).sum(),
        }
        row = table.iloc[place]
        for name, value in wanted.items():
            assert row[name] == pytest.approx(float(value), rel=2e-3, abs=1e-5), name
            assert row[f"{name}_low"] <= row[name] <= row[f"{name}_high"]
    steps = {row["stage"]: row for row in table.attrs["steps"]}
    assert steps["all"]["change"] == pytest.approx(float((cut[-1] - cut[0]).mean()), rel=1e-3)
    assert steps["1"]["change"] == pytest.approx(float((cut[2] - cut[0]).mean()), rel=1e-3)


def test_heads_are_fitted_on_the_training_rows(case: Case) -> None:
    for place, x in enumerate(case.xs):
        pooled = x.mean((2, 3)).float().numpy()
        pooled = StandardScaler().fit_transform(pooled)
        head = LogisticRegression(max_iter=500).fit(pooled, case.labels.numpy())
        accuracy = head.score(pooled, case.labels.numpy())
        assert case.table["fitted_accuracy"][place] == pytest.approx(accuracy, abs=0.026)
    assert case.table.attrs["fitted"] == "fitted on 40 rows of the reference data"


def test_its_figure_and_notes(case: Case) -> None:
    assert len(ANALYSES.get("refinement").notes(case.table)) == 3
    figure = plot_analysis([case.table, case.table])
    assert len(figure.axes) == 8
    assert "small" in figure.axes[0].get_xlabel()


def test_the_network_cut_short_is_that_of_depth() -> None:
    model = build([("attention", 0, 1)] * 2, seed=4)
    images, labels = images_for(model, 20)
    net, data = ensembles.decompose(model, images[:4]), [(images, labels)]
    table = ensembles.analyze(net, data, "refinement")
    depth = ensembles.analyze(net, data, "depth", images=0)
    assert table["loss"].tolist() == pytest.approx(depth["loss"].tolist(), rel=1e-4)
    assert (1 - table["accuracy"]).tolist() == pytest.approx(depth["error"].tolist())
    assert set(table["stage"]) == {1}
    assert table["fitted_loss"].isna().all()
    assert "no train split" in table.attrs["fitted"]


class Descent(nn.Module):
    """Blocks that add minus a hundredth of a fixed direction, on a linear head."""

    def __init__(self) -> None:
        super().__init__()
        self.steps = nn.ModuleList(Step() for _ in range(3))
        self.head = nn.Linear(4, 2, bias=False)
        with torch.no_grad():
            self.head.weight.copy_(torch.tensor([[1.0, 0, 0, 0], [0, 1.0, 0, 0]]))

    def forward(self, x: Tensor) -> Tensor:
        for step in self.steps:
            x = x + step(x)
        return self.head(x)


class Step(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.map = nn.Linear(4, 4)
        with torch.no_grad():
            self.map.weight.zero_()
            self.map.bias.copy_(torch.tensor([0.01, -0.01, 0, 0]))

    def forward(self, x: Tensor) -> Tensor:
        return self.map(x)


def test_steps_down_the_gradient_have_cosine_one_and_are_explained() -> None:
    """The gradient of class 0 is a multiple of (-1, 1, 0, 0): each step goes straight down."""
    images = torch.randn(33, 4, generator=torch.Generator().manual_seed(0))
    labels = torch.zeros(33, dtype=torch.int64)
    net = ensembles.decompose(Descent().eval(), images[:4])
    table = ensembles.analyze(net, [(images, labels)], "refinement")
    assert table["cosine"].tolist()[1:] == pytest.approx([1] * 3, abs=1e-5)
    assert table["lens_cosine"].tolist()[1:] == pytest.approx([1] * 3, abs=1e-5)
    assert table["explained"].min() > 0.999
    size = images + torch.tensor([0.03, -0.03, 0, 0])
    far = 0.03 / 2**0.5 / float(size.square().mean().sqrt())
    wanted = [far, far * 2 / 3, far / 3, 0]
    assert table["error_sd"].tolist() == pytest.approx(wanted, rel=1e-3, abs=1e-6)
    assert table["bias_share"].tolist()[:3] == pytest.approx([1] * 3)  # the same for all rows
    share = table.attrs["steps"][-1]["share"]
    assert share == pytest.approx(1, abs=0.02)
    ax = estimation_errors(table, colours=["#123456"], legend=False)
    assert ax.get_legend() is None
    with pytest.raises(UsageError, match="stage"):
        curves_by_block(table.drop(columns="stage"), {"cosine": "cosine"}, "Cosine")


def test_it_runs_on_a_language_model_without_fitted_heads() -> None:
    model, _ = ensembles.load("gpt12")
    data = ensembles.dataset("prose", limit=2, window=16)
    net = ensembles.decompose(model, next(iter(data))[None])
    table = ensembles.analyze(net, data, "refinement")
    assert len(table) == len(net) + 1 and np.isfinite(table["cosine"][1:]).all()
    assert (
        table.attrs["fitted"]
        == "none, since the head of a language model is its own at every depth"
    )


def test_what_refinement_refuses() -> None:
    model = build([("plain", 6, 1)] * 2)
    images, labels = images_for(model, 4)
    net = ensembles.decompose(model, images)
    with pytest.raises(UsageError, match=r"not all blocks of .* follow each other with a shortcut"):
        ensembles.analyze(net, [(images, labels)], "refinement")
    with pytest.raises(UsageError, match="train -1; expected 0 or more"):
        ensembles.analyze(net, [(images, labels)], "refinement", train=-1)


FOLLOWING = (CrossStage, Dense, OneInput, Reminded)


@pytest.mark.parametrize("kind", FOLLOWING)
def test_steps_of_weak_branches_of_nested_blocks_are_explained(kind: type[Network]) -> None:
    """The first order of what a branch adds is what it changes, where it adds little."""
    model = made(kind)
    for part in model.sums().values():
        part.branch.register_forward_hook(lambda _m, _x, out: out * 1e-3)
    net, labels = ensembles.decompose(model, model.example), torch.tensor([0, 1, 2])
    table = ensembles.analyze(net, [(model.example, labels)], "refinement", batch_size=2)
    with torch.no_grad():
        loss = F.cross_entropy(model(model.example), labels)
    assert table["loss"].iloc[-1] == pytest.approx(float(loss), rel=1e-4)
    change, first = table["change"][1:], table["first_order"][1:]
    assert change.tolist() == pytest.approx(first.tolist(), rel=0.05, abs=1e-6)


@pytest.mark.parametrize("kind", [LongSkip, Levels, Reversible, ClassAttention])
def test_blocks_beside_each_other_are_refused(kind: type[Network]) -> None:
    model = made(kind)
    net = ensembles.decompose(model, model.example)
    with pytest.raises(UsageError, match=r"follow each other .* nested=False \(--chain\)"):
        ensembles.analyze(net, [(model.example, torch.tensor([0, 1, 2]))], "refinement")
