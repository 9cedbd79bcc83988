"""Coupling of Jacobians, against whole Jacobians and numpy's singular vectors."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from by_hand import loop_of
from networks import build, images_for, silenced
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

import ensembles
from ensembles.analyses.coupling_tables import misalignments, position_jacobian
from ensembles.analyses.kinds import ANALYSES
from ensembles.errors import UsageError
from ensembles.plots import plot_analysis

TOP = 3


def whole_jacobians(model: nn.Module, image: Tensor) -> list[Tensor]:
    """The Jacobian of each branch, (outputs, inputs) with the shape of the value, in double."""
    loop = loop_of(model.double())
    x, found = loop.stem(image.double()[None]), []
    for place, unit in enumerate(loop.units, 1):
        for function in loop.before.get(place, ()):
            x = function(x)
        found.append(torch.autograd.functional.jacobian(unit.branch, x)[0].select(x.ndim - 1, 0))
        x = unit(x)
    model.float()
    return found


def misalignment(one: np.ndarray, other: np.ndarray) -> float:
    """Its definition, written out."""
    sizes = np.linalg.svd(one)[1][:TOP]
    u, _, vt = np.linalg.svd(other)
    seen = u[:, :TOP].T @ one @ vt[:TOP].T
    return float(np.linalg.norm(seen - np.diag(sizes)) / np.linalg.norm(sizes))


@pytest.mark.parametrize(
    ("plan", "last"),
    [
        ([("pre", 6, 1)] * 3, False),
        ([("post", 6, 1)] * 2, False),
        ([("attention", 6, 1)] * 2, True),
    ],
)
def test_it_equals_its_definition(plan: list[tuple[str, int, int]], last: bool) -> None:
    model = build(plan, seed=3)
    images, labels = images_for(model, 3)
    net = ensembles.decompose(model, images)
    data = [(images, labels)]
    table = ensembles.analyze(net, data, "coupling", positions=2, top=TOP)
    n = len(net)
    assert table["block"].tolist() == [b for b in range(1, n + 1) for _ in range(n)]
    found = np.zeros((3, n, n))
    for row, image in enumerate(images):
        whole = whole_jacobians(model, image)
        size = whole[0].shape[: whole[0].ndim // 2]
        channels = size[-1] if last else size[0]
        count = math.prod(size) // channels
        for position in (count // 2 - 1, count - 1):
            parts = []
            for one in whole:
                ordered = one.reshape(math.prod(size), math.prod(size)).numpy()
                places = np.arange(channels)
                at = position * channels + places if last else places * count + position
                parts.append(ordered[np.ix_(at, at)])
            found[row] += [[misalignment(a, b) / 2 for b in parts] for a in parts]
    wanted = found.mean(0).ravel()
    assert table["misalignment"].to_list() == pytest.approx(wanted, rel=2e-3, abs=2e-5)
    assert (table["low"] <= table["misalignment"] + 1e-9).all()


def test_the_same_vectors_are_coupled_and_others_are_not() -> None:
    draw = torch.Generator().manual_seed(0)
    one = torch.randn(1, 8, 8, generator=draw, dtype=torch.float64)
    u, s, vt = torch.linalg.svd(one)
    other = u @ torch.diag_embed(s.square()) @ vt  # other sizes along the same directions
    turned = u.roll(4, -1) @ torch.diag_embed(s) @ vt.roll(4, -2)
    values, largest = misalignments(torch.stack([one, other, turned]), 4)
    assert values[0, 0] == pytest.approx(0, abs=1e-12)
    assert values[0, 1] == pytest.approx(0, abs=1e-12)
    assert values[0, 2] > 0.5
    assert largest[:2, 0].tolist() == pytest.approx([float(s[0, 0]), float(s[0, 0]) ** 2])
    blank, _ = misalignments(torch.stack([one, 0 * one, one * math.inf]), 4)
    assert torch.isnan(blank[0]).flatten().tolist() == [False, True, True]


def test_identical_linear_blocks_are_coupled() -> None:
    class Linear(nn.Module):
        def __init__(self, weight: Tensor) -> None:
            super().__init__()
            self.layer = nn.Linear(6, 6)
            self.layer.weight = nn.Parameter(weight)

        def forward(self, x: Tensor) -> Tensor:
            return x + self.layer(x)

    with torch.random.fork_rng():
        torch.manual_seed(0)
        one, other = torch.randn(2, 6, 6)
        rows = torch.randn(5, 6)
        model = nn.Sequential(Linear(one), Linear(one), Linear(other), nn.Linear(6, 3)).eval()
    net = ensembles.decompose(model, rows)
    data = [(rows, torch.zeros(5, dtype=torch.long))]
    table = ensembles.analyze(net, data, "coupling", top=2).set_index(["block", "other"])
    assert table["misalignment"][1, 2] == pytest.approx(0, abs=1e-5)
    assert table["misalignment"][1, 3] == pytest.approx(
        float(misalignments(torch.stack([one, other])[:, None].double(), 2)[0][0, 1, 0]), rel=1e-4
    )
    assert table["high"][1, 3] - table["low"][1, 3] == pytest.approx(0, abs=1e-5)


def test_many_channels_are_taken_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    model = build([("pre", 6, 1)] * 2, seed=1)
    images, _ = images_for(model, 1)
    net = ensembles.decompose(model, images)
    block = net.block(2)
    with torch.no_grad():
        x = net.block(1)(net.stem(images))
    whole = position_jacobian(block, x, 5)
    monkeypatch.setattr("ensembles.analyses.coupling_tables._AT_ONCE", 4)
    assert torch.allclose(position_jacobian(block, x, 5), whole, atol=1e-6)


def test_a_zero_branch_has_no_vectors_and_a_figure_is_drawn(tmp_path: Path) -> None:
    model = silenced(build([("pre", 6, 1)] * 3, seed=3), 2)
    images, labels = images_for(model, 2)
    net = ensembles.decompose(model, images)
    table = ensembles.analyze(net, [(images, labels)], "coupling", store=tmp_path / "r.db")
    gone = table[(table["block"] == 2) | (table["other"] == 2)]
    assert gone["misalignment"].isna().all()
    assert table["misalignment"].notna().sum() == 4
    assert plot_analysis(table).axes
    scale, near, far = ANALYSES.get("coupling").notes(table)
    assert scale.startswith("misalignment: 0 for the same singular vectors")
    assert near.startswith("median misalignment of blocks 1 apart: ") and "blocks 2 apart" in far


def test_what_cannot_be_compared_is_refused() -> None:
    model = build([("plain", 6, 1)] * 2, seed=3)
    images, labels = images_for(model, 2)
    net = ensembles.decompose(model, images)
    with pytest.raises(UsageError, match=r"fewer than two blocks .* choose a residual network"):
        ensembles.analyze(net, [(images, labels)], "coupling")
    with pytest.raises(UsageError, match="top 0; expected 1 or more"):
        ensembles.analyze(net, [(images, labels)], "coupling", top=0)


def test_no_matrix_is_copied_for_every_pair() -> None:
    blocks, channels, top = 12, 64, 2
    jacobians = torch.randn(blocks, 1, channels, channels, dtype=torch.float64)
    largest = 0

    class Sizes(TorchDispatchMode):
        def __torch_dispatch__(
            self, func: Any, types: Any, args: Any = (), kwargs: Any = None
        ) -> Any:
            nonlocal largest
            found = func(*args, **(kwargs or {}))
            for one in found if isinstance(found, tuple | list) else [found]:
                if isinstance(one, Tensor):
                    largest = max(largest, one.numel())
            return found

    with Sizes():
        values, _ = misalignments(jacobians, top)
    assert values.shape == (blocks, blocks, 1)
    assert largest <= jacobians.numel()
