"""Spans run in other ways, against the same lesions one by one."""

from __future__ import annotations

import pytest
from networks import build, images_for

import ensembles
from ensembles.analyses.kinds import ANALYSES
from ensembles.errors import UsageError
from ensembles.lesions import (
    Delete,
    Middle,
    Parallel,
    Reorder,
    Repeat,
    Reverse,
    Shuffle,
)
from ensembles.plots import plot_analysis


def test_every_span_of_a_stage_is_run_in_every_way() -> None:
    model = build(
        [("pre", 6, 1), ("pre", 6, 1), ("pre", 8, 2), ("pre", 8, 1), ("pre", 8, 1)], seed=2
    )
    images, labels = images_for(model, 33)
    net, data = ensembles.decompose(model, images[:4]), [(images, labels)]
    table = ensembles.analyze(net, data, "execution", lengths="2", loops=2, seed=5, scan=True)
    made = {
        "middle": Middle, "reverse": Reverse,
        "skip": lambda s: Delete(tuple(range(s[0], s[1] + 1))),
        "shuffle": lambda s: Shuffle(s, seed=5),
        "parallel": lambda s: Parallel(tuple(range(s[0], s[1] + 1)), mean=True),
        "looped": lambda s: Parallel(tuple(range(s[0], s[1] + 1)), mean=True, loops=2),
        "swap": lambda s: Reorder((s,)),
        "twice": lambda s: Repeat(s, 2),
    }  # fmt: skip
    rows = list(table.itertuples())
    lesions = [made[row.variant]((row.first, row.last)) for row in rows]
    frame = ensembles.lesion(
        net, data, dict.fromkeys(lesions), metrics=("kl", "agreement"), engine="direct"
    )
    known = {(row.lesion, row.blocks): row for row in frame.itertuples()}
    for row, one in zip(rows, lesions, strict=True):
        wanted = known[one.kind, one.text]
        assert row.error == wanted.error and row.agreement == wanted.agreement
        assert row.loss_rise == pytest.approx(wanted.loss - frame["loss"][0], abs=2e-6)
        assert row.kl == pytest.approx(wanted.kl, abs=1e-6)
        assert row.loss_rise_low <= row.loss_rise <= row.loss_rise_high
        assert row.error_low <= row.error <= row.error_high
    spans = {(row.variant, row.first, row.last) for row in rows}
    assert {s for s in spans if s[0] == "reverse"} == {("reverse", 1, 2), ("reverse", 4, 5)}
    assert {s[1:] for s in spans if s[0] == "skip"} == {(1, 2), (4, 5)}  # the same spans
    assert {s[1:] for s in spans if s[0] == "twice"} == {
        (1, 1), (2, 2), (4, 4), (5, 5), (1, 2), (4, 5)
    }  # fmt: skip
    figure = plot_analysis(table)
    assert [ax.get_xlabel() for ax in figure.axes[:3]] == [
        "Length of the span (blocks)", "First of two exchanged neighbours",
        "First block of the span",
    ]  # fmt: skip
    (line,) = ANALYSES.get("execution").notes(table)
    assert line.startswith("median rise of the loss over spans of 2 (nats): ")
    (views,) = ANALYSES.get("execution").views(table).values()
    assert set(views["variant"]) == set(made)


def test_what_execution_refuses() -> None:
    model = build([("pre", 6, 1), ("pre", 8, 2)], seed=2)
    images, labels = images_for(model, 4)
    net, data = ensembles.decompose(model, images), [(images, labels)]
    with pytest.raises(UsageError, match=r"no two neighbours of .* can change places"):
        ensembles.analyze(net, data, "execution")
    for options, message in (
        ({"lengths": "2,x"}, "lengths '2,x'; expected numbers from 2"),
        ({"lengths": "1"}, "lengths '1'; expected numbers from 2"),
        ({"loops": 1}, "loops 1; expected 2 or more"),
    ):
        with pytest.raises(UsageError, match=message):
            ensembles.analyze(net, data, "execution", **options)
