"""Spans run in other ways, weights and statistics taken away, against lesions one by one."""

from __future__ import annotations

import numpy as np
import pytest
from networks import build, images_for

import ensembles
from ensembles.analyses.kinds import ANALYSES
from ensembles.errors import DataError, LesionError, UsageError
from ensembles.lesions import (
    Delete,
    Intact,
    Middle,
    Parallel,
    Randomize,
    Reorder,
    Repeat,
    Replace,
    Reset,
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
    assert len(ANALYSES.get("criticality").notes(table)) == 4
    without = ensembles.analyze(net, data, "criticality", trials=1)
    assert set(without["variant"]) == {"init", "permute", "zero"}


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
    assert len(ANALYSES.get("interchange").notes(table)) == 2
    twins = build([("pre", 6, 1)] * 2, seed=6)
    twins.blocks[1].load_state_dict(twins.blocks[0].state_dict())
    same = ensembles.decompose(twins, images[:4])
    table = ensembles.analyze(same, data, "interchange")
    assert table[["replaced", "exchanged"]].to_numpy().max() < 1e-9
    alone = ensembles.decompose(build([("pre", 6, 1), ("pre", 8, 2)], seed=6), images[:4])
    with pytest.raises(LesionError, match=r"no two blocks of .* have equal shapes"):
        ensembles.analyze(alone, data, "interchange")


def test_recalibration_pairs_both_statistics() -> None:
    model = build([("pre", 6, 1), ("pre", 8, 2), ("pre", 8, 1)], seed=2)
    images, labels = images_for(model, 64)
    labels = model(images).argmax(1)
    net, data = ensembles.decompose(model, images[:4]), [(images[:40], labels[:40])]
    how = {"reference": [(images, labels)]}
    table = ensembles.analyze(net, data, "recalibration", batches=2, size=32, **how)
    plain = [Delete((b,)) for b in (1, 2, 3)]
    again = [one.recalibrated(2, 32) for one in plain]
    control = Intact().recalibrated(2, 32)
    frame = ensembles.lesion(
        net, data, [*plain, *again, control], engine="direct", **how
    ).set_index(["lesion", "blocks"])
    intact = frame.iloc[0]
    for row, one, other in zip(table.itertuples(), plain, again, strict=True):
        a, b = frame.loc[one.kind, one.text], frame.loc[other.kind, other.text]
        assert (row.error, row.error_recalibrated) == (a.error, b.error)
        assert row.error_gain == pytest.approx(a.error - b.error)
        assert row.loss_rise == pytest.approx(a.loss - intact.loss, abs=1e-5)
        assert row.loss_gain == pytest.approx(a.loss - b.loss, abs=1e-5)
        if not row.reason:
            share = (a.loss - b.loss) / (a.loss - intact.loss)
            assert row.loss_share == pytest.approx(share, rel=1e-3)
            assert row.loss_share_low <= row.loss_share <= row.loss_share_high
        else:
            assert row.reason == "its rise of the loss may be 0" and np.isnan(row.loss_share)
    assert not table["reason"].all()  # or the test would say nothing of shares
    change = next(row for row in table.attrs["intact"] if row["of"] == "rise of the loss")
    wanted = frame.loc[control.kind, control.text].loss - intact.loss
    assert change["change"] == pytest.approx(wanted, abs=1e-5)
    total = next(row for row in table.attrs["shares"] if row["of"] == "rise of the loss")
    assert total["rise"] == pytest.approx(table["loss_rise"].sum(), abs=1e-5)
    assert plot_analysis(table).axes[0].get_xlabel() == "Lesioned block"
    with pytest.raises(DataError, match="can be read only once, and recalibration"):
        ensembles.analyze(net, iter(data), "recalibration", **how)


def test_recalibration_changes_nothing_without_batch_norm() -> None:
    model = build([("attention", 6, 1), ("mixer", 6, 1)], seed=2)
    images, labels = images_for(model, 34)
    net, data = ensembles.decompose(model, images[:4]), [(images, labels)]
    table = ensembles.analyze(net, data, "recalibration")
    assert table["loss_gain"].tolist() == [0] * 4 and table["error_gain"].tolist() == [0] * 4
    assert ANALYSES.get("recalibration").notes(table) == [
        "the network has no BatchNorm: recalibration changes nothing"
    ]
    with pytest.raises(LesionError, match="no lesion of one block alone"):
        ensembles.analyze(net, data, "recalibration", kind="reverse")
