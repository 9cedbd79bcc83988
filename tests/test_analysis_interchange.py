"""Blocks that take each other's places, against the same lesions one by one."""

from __future__ import annotations

import pytest
from networks import build, images_for

import ensembles
from ensembles.analyses.kinds import ANALYSES
from ensembles.errors import LesionError
from ensembles.lesions import (
    Reorder,
    Replace,
)
from ensembles.plots import plot_analysis


def test_pairs_take_each_others_places() -> None:
    model = build([("pre", 6, 1)] * 3 + [("pre", 8, 2)], seed=6)
    images, labels = images_for(model, 33)
    net, data = ensembles.decompose(model, images[:4]), [(images, labels)]
    table = ensembles.analyze(net, data, "interchange")
    pairs = [(i, j) for i in (1, 2, 3) for j in (1, 2, 3) if i != j]
    assert list(zip(table["block"], table["other"], strict=True)) == pairs
    lesions = [Replace(i, by=j) for i, j in pairs]
    lesions += [Reorder((pair,)) for pair in ((1, 2), (1, 3), (2, 3))]
    frame = ensembles.lesion(net, data, lesions, metrics="kl", engine="direct")
    known = {(row.lesion, row.blocks): row.kl for row in frame.itertuples()}
    for row in table.itertuples():
        low, high = sorted((row.block, row.other))
        assert row.distance == high - low
        wanted = known["replace", f"{row.block}<-{row.other}"]
        assert row.replaced == pytest.approx(wanted, rel=1e-4, abs=1e-7)
        assert row.exchanged == pytest.approx(known["reorder", f"{low}-{high}"], rel=1e-4, abs=1e-7)
        assert row.replaced_low <= row.replaced <= row.replaced_high
    near = ensembles.analyze(net, data, "interchange", distance=1)
    assert set(near["distance"]) == {1} and len(near) == 4
    assert len(plot_analysis(table).axes) == 5
    of_distance = plot_analysis(near).axes[2]
    assert of_distance.get_xlabel() == "Distance between the two blocks"
    assert of_distance.get_xlim() == (0, 2)
    assert len(ANALYSES.get("interchange").notes(table)) == 2
    twins = build([("pre", 6, 1)] * 2, seed=6)
    twins.blocks[1].load_state_dict(twins.blocks[0].state_dict())
    same = ensembles.decompose(twins, images[:4])
    table = ensembles.analyze(same, data, "interchange")
    assert table[["replaced", "exchanged"]].to_numpy().max() < 1e-9
    alone = ensembles.decompose(build([("pre", 6, 1), ("pre", 8, 2)], seed=6), images[:4])
    with pytest.raises(LesionError, match=r"no two blocks of .* have equal shapes"):
        ensembles.analyze(alone, data, "interchange")
