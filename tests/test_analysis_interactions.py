"""Interactions of blocks against losses of networks that are lesioned one by one."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from networks import build, images_for, silenced

import ensembles
from ensembles.analyses.kinds import ANALYSES
from ensembles.errors import LesionError, UsageError
from ensembles.lesions import Delete, Intact
from ensembles.plots import plot_analysis
from ensembles.statistics.set_functions import exact_energies, exact_shapley


def prepared(count: int, seed: int = 3, rows: int = 34) -> tuple[Any, Any, Any]:
    model = build([("pre", 6, 1)] * count, seed=seed)
    images, labels = images_for(model, rows)
    return model, ensembles.decompose(model, images[:4]), [(images, labels)]


def losses_of(net: Any, data: Any, sets: list[tuple[int, ...]]) -> dict[tuple[int, ...], float]:
    lesions = [Delete(one) if one else Intact() for one in sets]
    frame = ensembles.lesion(net, data, lesions, engine="direct")
    known = dict(zip(frame["blocks"], frame["loss"], strict=True))
    return {one: known[" ".join(map(str, one))] for one in sets}


def test_it_equals_its_definition_on_all_sets() -> None:
    _, net, data = prepared(4)
    table = ensembles.analyze(net, data, "interactions", share=0.3)
    sets = [s for size in range(5) for s in combinations(range(1, 5), size)]
    v = losses_of(net, data, sets)
    assert list(zip(table["block"], table["other"], strict=True)) == list(
        combinations(range(1, 5), 2)
    )
    for row in table.itertuples():
        i, j = row.block, row.other
        wanted = v[i, j] - v[(i,)] - v[(j,)] + v[()]
        assert row.interaction == pytest.approx(wanted, abs=2e-6)
        assert row.joint_rise == pytest.approx(v[i, j] - v[()], abs=2e-6)
        assert row.low <= row.interaction <= row.high
    by_code = np.array(
        [v[tuple(b for b in range(1, 5) if code >> (b - 1) & 1)] for code in range(16)]
    )
    shapley = [row["value"] for row in table.attrs["shapley"]]
    assert shapley == pytest.approx(exact_shapley(4, by_code), abs=2e-6)
    assert {row["se"] for row in table.attrs["shapley"]} == {0.0}
    energy = [row["share"] for row in table.attrs["energy"]]
    assert energy == pytest.approx(exact_energies(4, by_code, 0.3), abs=1e-3)
    assert len(plot_analysis(table).axes) == 2


def test_orders_are_drawn_in_large_networks(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("ensembles.analyses.interaction_tables.EXACT_BLOCKS", 2)
    _, net, data = prepared(4)
    options = {"permutations": 6, "sets": 40, "share": 0.5, "seed": 1, "store": tmp_path / "x.db"}
    table = ensembles.analyze(net, data, "interactions", **options)
    sets = [s for size in range(5) for s in combinations(range(1, 5), size)]
    v = losses_of(net, data, sets)
    found = table.attrs["shapley"]
    # by efficiency: in every order the gains add up to the damage of deleting all
    assert sum(row["value"] for row in found) == pytest.approx(v[1, 2, 3, 4] - v[()], abs=2e-6)
    draw = np.random.default_rng(1)
    draw.random((40, 4))
    gains = []
    for _ in range(3):
        order = draw.permutation([1, 2, 3, 4]).tolist()
        for one in (order, order[::-1]):
            steps = [v[tuple(sorted(one[:size]))] for size in range(5)]
            added = {block: steps[at + 1] - steps[at] for at, block in enumerate(one)}
            gains.append([added[block] for block in (1, 2, 3, 4)])
    pairs = np.reshape(gains, (3, 2, 4)).mean(1)
    assert [row["value"] for row in found] == pytest.approx(pairs.mean(0), abs=2e-6)
    errors = pairs.std(0, ddof=1) / np.sqrt(3)
    assert [row["se"] for row in found] == pytest.approx(errors, abs=2e-6)
    additive = table.attrs["additive"][0]
    assert additive["blocks"] == "all" and additive["sets"] == 11
    again = ensembles.analyze(net, data, "interactions", **options)
    assert again.to_dict("list") == table.to_dict("list")
    alone = ensembles.analyze(net, data, "interactions", **{**options, "pairs": False})
    assert list(alone["block"]) == [1, 2, 3, 4] and alone["interaction"].isna().all()
    rises = [v[(b,)] - v[()] for b in (1, 2, 3, 4)]
    assert alone["joint_rise"].tolist() == pytest.approx(rises, abs=2e-6)


def test_a_block_that_does_nothing_interacts_with_none() -> None:
    model = silenced(build([("pre", 6, 1)] * 3, seed=4), 2)
    images, labels = images_for(model, 12)
    net = ensembles.decompose(model, images)
    table = ensembles.analyze(net, [(images, labels)], "interactions")
    about = table[(table["block"] == 2) | (table["other"] == 2)]
    assert about["interaction"].tolist() == pytest.approx([0, 0], abs=2e-6)
    assert table.attrs["shapley"][1]["value"] == pytest.approx(0, abs=2e-6)
    notes = ANALYSES.get("interactions").notes(table)
    assert any("single blocks explain" in line for line in notes)


def test_what_it_refuses() -> None:
    _, net, data = prepared(2)
    for options, message in (
        ({"permutations": 3}, "permutations 3; expected an even number"),
        ({"sets": 2}, "sets 2; expected 8 or more"),
        ({"share": 1.0}, "share 1.0; expected a number between 0 and 1"),
        ({"rows": -1}, "rows -1; expected 0 or more"),
    ):
        with pytest.raises(UsageError, match=message):
            ensembles.analyze(net, data, "interactions", **options)
    one = build([("pre", 6, 1)], seed=1)
    images, labels = images_for(one, 4)
    alone = ensembles.decompose(one, images)
    with pytest.raises(LesionError, match=r"1 of the blocks of .* can be deleted; expected two"):
        ensembles.analyze(alone, [(images, labels)], "interactions")
