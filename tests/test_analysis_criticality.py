"""Blocks without their trained weights, against the same lesions one by one."""

from __future__ import annotations

import numpy as np
import pytest
from networks import build, images_for

import ensembles
from ensembles.analyses.kinds import ANALYSES
from ensembles.lesions import (
    Delete,
    Intact,
    Randomize,
    Reset,
)
from ensembles.plots import plot_analysis
from ensembles.plots.criticality import recovered_by_block


def test_what_is_left_without_trained_weights() -> None:
    model, before = build([("pre", 6, 1)] * 2, seed=2), build([("pre", 6, 1)] * 2, seed=9)
    images, labels = images_for(model, 40)
    labels = model(images).argmax(1)  # so that the intact network is right
    net, data = ensembles.decompose(model, images[:4]), [(images, labels)]
    table = ensembles.analyze(net, data, "criticality", trials=2, seed=3, initial=before)
    made = {
        "reset": [Reset], "zero": [Delete],
        "init": [lambda b: Randomize(b, seed=3), lambda b: Randomize(b, seed=4)],
        "permute": [
            lambda b: Randomize(b, seed=3, how="permute"),
            lambda b: Randomize(b, seed=4, how="permute"),
        ],
    }  # fmt: skip
    every = [Intact()] + [make((b,)) for b in (1, 2) for makes in made.values() for make in makes]
    frame = ensembles.lesion(
        net, data, every, metrics="cosine", engine="direct", initial=before
    ).set_index(["lesion", "blocks"])
    assert list(zip(table["block"], table["variant"], strict=True)) == [
        (b, v) for b in (1, 2) for v in ("reset", "init", "permute", "zero")
    ]
    for row in table.itertuples():
        lesions = [make((row.block,)) for make in made[row.variant]]
        rows = [frame.loc[one.kind, one.text] for one in lesions]
        assert row.trials == len(lesions)
        assert row.recovered == pytest.approx(np.mean([1 - one.error for one in rows]))
        assert row.recovered_least == pytest.approx(min(1 - one.error for one in rows))
        assert row.cosine == pytest.approx(np.mean([one.cosine for one in rows]), abs=1e-6)
        assert row.recovered_low <= row.recovered <= row.recovered_high
    assert plot_analysis(table).axes[0].get_xlabel() == "Block"
    ax = recovered_by_block(table, colours=["#123456"] * 4, legend=False)
    assert ax.get_legend() is None and ax.lines[0].get_color() == "#123456"
    assert len(plot_analysis([table] * 28).axes) == 28  # more than there are letters
    assert len(ANALYSES.get("criticality").notes(table)) == 4
    without = ensembles.analyze(net, data, "criticality", trials=1)
    assert set(without["variant"]) == {"init", "permute", "zero"}
