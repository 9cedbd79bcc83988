"""What deleting a block changes of later blocks, against networks that are run as loops by hand."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from by_hand import loop_of
from networks import build, images_for, silenced
from scipy.special import rel_entr, softmax
from torch import Tensor, nn

import ensembles
from ensembles.errors import UsageError
from ensembles.plots import plot_analysis


def by_hand(model: nn.Module, images: Tensor, vectors: str) -> dict[tuple[int, int], np.ndarray]:
    """Relative changes of each pair, row by row, in double precision; (0, s) is the divergence."""
    loop = loop_of(model.double())
    n = len(loop.units)

    def run(x: Tensor, deleted: int) -> tuple[list[Tensor], Tensor]:
        x, added = loop.stem(x), []
        for position, unit in enumerate(loop.units, 1):
            for function in loop.before.get(position, ()):
                x = function(x)
            value = unit.branch(x)
            less = unit.finish(x, torch.zeros_like(value))
            y = less if position == deleted else unit.finish(x, value)
            added.append(y - less)
            x = y
        return added, loop.head(x)

    def norms(value: Tensor) -> np.ndarray:
        if vectors == "row":
            return value.flatten(1).norm(dim=1, keepdim=True).numpy()
        return value.norm(dim=2 if value.ndim == 3 else 1).flatten(1).numpy()

    found = {}
    with torch.no_grad():
        intact, logits = run(images.double(), 0)
        for s in range(1, n + 1):
            changed, out = run(images.double(), s)
            for block in range(s, n + 1):
                a, b = changed[block - 1], intact[block - 1]
                found[s, block] = norms(a - b) / np.maximum(norms(b), 1e-6)
            p, q = softmax(logits.numpy(), axis=1), softmax(out.numpy(), axis=1)
            found[0, s] = rel_entr(p, q).sum(1)
    model.float()
    return found


@pytest.mark.parametrize("vectors", ["row", "position"])
@pytest.mark.parametrize(
    "plan",
    [
        [("pre", 6, 1), ("pre", 8, 2), ("convnext", 8, 1), ("pre", 8, 1)],
        [("post", 6, 1), ("post", 8, 2), ("post", 8, 1)],
        [("attention", 6, 1), ("mixer", 6, 1)],
    ],
)
def test_it_equals_loops_by_hand(plan: list[tuple[str, int, int]], vectors: str) -> None:
    model = build(plan, seed=3)
    images, labels = images_for(model, 10)
    net = ensembles.decompose(model, images)
    data = [(images[:7], labels[:7]), (images[7:], labels[7:])]
    table = ensembles.analyze(net, data, "downstream", vectors=vectors)
    wanted = by_hand(model, images, vectors)
    n = len(net)
    assert list(zip(table["deleted"], table["block"], strict=True)) == [
        (s, block) for s in range(1, n + 1) for block in range(s, n + 1)
    ]
    for row in table.itertuples():
        values, kl = wanted[row.deleted, row.block], wanted[0, row.deleted]
        each = values.mean(1)
        close = {"rel": 1e-4, "abs": 1e-6}
        assert row.change == pytest.approx(each.mean(), **close)
        assert row.change_se == pytest.approx(each.std(ddof=1) / math.sqrt(10), **close)
        assert row.maximum == pytest.approx(values.max(), **close)
        assert row.median == pytest.approx(np.median(values), **close)
        assert row.kl == pytest.approx(kl.mean(), rel=1e-3, abs=1e-6)
        assert row.kl_se == pytest.approx(kl.std(ddof=1) / math.sqrt(10), rel=1e-3, abs=1e-6)
    assert table.attrs["rows"] == 10 and table.attrs["options"] == {"vectors": vectors}


def test_a_branch_that_gives_nothing_changes_nothing() -> None:
    model = silenced(build([("pre", 6, 1)] * 3, seed=4), 2)
    images, labels = images_for(model, 6)
    net = ensembles.decompose(model, images)
    table = ensembles.analyze(net, [(images, labels)], "downstream").set_index(["deleted", "block"])
    assert table.loc[(2, 3), "change"] == 0
    assert table.loc[(2, 3), "kl"] == pytest.approx(0, abs=1e-7)
    assert table.loc[(1, 1), "change"] == pytest.approx(1)
    assert table.loc[(3, 3), "median"] == pytest.approx(1)
    assert table.loc[(1, 3), "change"] > 0


def test_the_figure_and_what_is_said_of_it(tmp_path: Path) -> None:
    model = build([("pre", 6, 1)] * 4, seed=5)
    images, labels = images_for(model, 6)
    net = ensembles.decompose(model, images)
    table = ensembles.analyze(net, [(images, labels)], "downstream", model="small")
    figure = plot_analysis(table, tmp_path / "x.png")
    ax, bar = figure.axes
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("Deleted block", "Later block")
    assert bar.get_ylabel() == "Relative change of what it adds, 6 images"
    (mesh,) = ax.collections
    later = table[table["block"] > table["deleted"]]
    drawn = np.ma.compressed(np.ma.masked_invalid(mesh.get_array()))
    assert sorted(drawn) == pytest.approx(sorted(later["change"]))
    assert len(plot_analysis([table, table]).axes) == 4
    (line,) = ensembles.analyses.ANALYSES.get("downstream").notes(table)
    assert line.startswith("median change of later blocks where a block is deleted: ")
    assert "(first half)" in line and "(second half)" in line


def test_what_it_refuses() -> None:
    model = build([("plain", 6, 1)] * 2)
    images, labels = images_for(model, 4)
    net = ensembles.decompose(model, images)
    with pytest.raises(UsageError, match=r"no block of .* has a shortcut, so that none adds"):
        ensembles.analyze(net, [(images, labels)], "downstream")
    with pytest.raises(UsageError, match="vectors 'rows'; expected row or position"):
        ensembles.analyze(net, [(images, labels)], "downstream", vectors="rows")
