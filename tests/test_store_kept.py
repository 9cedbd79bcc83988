"""What a store keeps of lesions and analyses, row by row, without a network."""

from __future__ import annotations

import contextlib
import math
import sqlite3
import warnings
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from stores import outcome

from ensembles.errors import StoreError, UsageError
from ensembles.lesions import (
    KINDS,
    Delete,
    Draw,
    Intact,
    MeanBranch,
    Noise,
    Reset,
    Scale,
    intact,
)
from ensembles.metrics import METRICS, Column, Metric, Outcome
from ensembles.open_set import PluginWarning
from ensembles.store import Context, Key, Store, filler, merger
from ensembles.store.blobs import (
    decode_predictions,
    decode_state,
    encode_labels,
    encode_predictions,
    encode_state,
)
from ensembles.store.filler import Pace, fill

BLOCKS, CLASSES = 6, 4
LABELS = np.arange(20) % CLASSES


def context_of(name="test", task="classification"):
    """A network that there is not."""
    blocks = tuple((f"blocks.{number}", "residual") for number in range(1, BLOCKS + 1))
    key = Key("w", "a", blocks, "d", name, 20, (3, 8, 8), "none", "fp32", "shared", 1, task)
    about = {"model": "none", "dataset": "none", "classes": None, "num_classes": CLASSES,
             "transitions": [3], "adapted": {}}  # fmt: skip
    return Context(key, about, encode_labels(LABELS))


CONTEXT = context_of()


@pytest.fixture
def store(tmp_path):
    with Store(tmp_path / "study.db") as opened:
        yield opened


def measured(lesion, correct=5, loss=0.5, **states):
    return outcome(lesion, correct, loss, total=20, **states)


def added(store, *outcomes, context=CONTEXT, **options):
    """Ask for lesions and add what came of them; the handle."""
    asked = store.ask(context, [one.lesion for one in outcomes], **options)
    asked.add(outcomes, store.begin({"by": "hand"}))
    return asked


# Which lesions are missing


def test_a_lesion_is_complete_when_all_metrics_that_were_asked_for_are_there(store):
    wanted = [intact(), Delete((1,)), Delete((2,))]
    asked = store.ask(CONTEXT, wanted, metrics=("top1", "kl"))
    assert asked.missing == list(asked.lesions) == wanted
    assert asked.metrics == ("top1", "kl") and asked.measures == ("top1", "kl", "loss", "classes")
    run = store.begin({})
    assert asked.add([measured(wanted[1])], run) == 1
    assert asked.missing == wanted
    assert asked.add([measured(wanted[1], kl=[0.25]), measured(wanted[2], kl=[0.5])], run) == 2
    assert asked.missing == [intact()]
    assert store.ask(CONTEXT, wanted).missing == store.missing(CONTEXT, wanted) == [intact()]
    assert store.missing(CONTEXT, wanted, metrics="kl") == [intact()]
    assert store.missing(CONTEXT, wanted, metrics=["kl", "classes"]) == wanted
    assert store.outcomes(CONTEXT, metrics="kl").keys() == {wanted[1], wanted[2]}
    assert {(name.kind, name.text) for name in store.complete(CONTEXT, metrics="kl")} == {
        ("delete", "1"), ("delete", "2")
    }  # fmt: skip


def test_what_is_there_stays_when_it_is_measured_again(store):
    one = Delete((1,))
    first = added(store, measured(one, 5, 1.5))
    again = added(store, measured(one, 5, 1.6, kl=[0.1]), metrics=("top1", "kl"))
    other = added(store, measured(one, 6, 1.7, kl=[0.2]), metrics=("top1", "kl", "agreement"))
    assert (first.different, again.different, other.different) == (set(), set(), {one})
    found = store.outcomes(CONTEXT)[one]
    assert (found.correct, found.loss_sum, found.states["kl"].tolist()) == (5, 1.5, [0.1])
    assert other.missing == [one]
    assert len(store.provenance(CONTEXT)) == 2


def test_predictions_bring_the_counts_of_their_run(store):
    one, labels = Delete((1,)), LABELS.astype(np.int32)
    added(store, measured(one, 20, kl=[0.5]))
    with_them = replace(measured(one, 19), predictions=np.where(labels == 0, -1, labels))
    asked = store.ask(CONTEXT, [one], predictions=True)
    assert asked.missing == [one] and asked.claim([one]).mine == (one,)
    asked.add([with_them], store.begin({}))
    assert asked.missing == [] and asked.different == {one}
    found = store.outcomes(CONTEXT)[one]
    assert (found.correct, found.states["kl"].tolist()) == (19, [0.5])
    assert store.predictions(CONTEXT)[one].tolist() == with_them.predictions.tolist()
    again = store.ask(CONTEXT, [one], predictions=True)
    again.add([replace(with_them, states={"top1": np.array([3.0])})], store.begin({}))
    assert store.outcomes(CONTEXT)[one].correct == 19


def test_predictions_of_another_number_of_observations_are_refused(store):
    asked = store.ask(CONTEXT, [Delete((1,))], predictions=True)
    wrong = replace(measured(Delete((1,))), predictions=np.zeros(3, np.int32))
    with pytest.raises(StoreError, match="3 predictions of delete 1; the data have 20 observ"):
        asked.add([wrong], store.begin({}))
    assert asked.missing == [Delete((1,))]


def test_a_lesion_that_was_not_asked_for_is_refused(store):
    asked = store.ask(CONTEXT, [Delete((1,))])
    with pytest.raises(UsageError, match="delete 2 was not asked of the store; ask for it first"):
        asked.claim([Delete((2,))])
    with pytest.raises(UsageError, match=r"scale 2 x0\.5 was not asked of the store"):
        asked.add([measured(Scale((2,), 0.5))], store.begin({}))
    with pytest.raises(UsageError, match=r"^none was not asked of the store"):
        asked.fail({intact(): "why"}, store.begin({}))
    assert store.outcomes(CONTEXT) == {}


def test_failures_are_noted_until_the_lesion_is_measured(store):
    asked = store.ask(CONTEXT, [Delete((1,)), Delete((2,))])
    asked.claim([Delete((1,))])
    asked.fail({Delete((1,)): "memory ran out", Delete((2,)): "too"}, store.begin({}))
    assert store.failures(CONTEXT) == {Delete((1,)): "memory ran out", Delete((2,)): "too"}
    assert [store.summary()[0][name] for name in ("failed", "claimed", "measured")] == [2, 0, 0]
    asked.add([measured(Delete((1,)))], store.begin({}))
    assert store.failures(CONTEXT) == {Delete((2,)): "too"}


def test_two_handles_do_not_take_each_others_lesions(tmp_path):
    with Store(tmp_path / "study.db") as one, Store(tmp_path / "study.db") as two:
        wanted = [Delete((number,)) for number in (1, 2, 3)]
        first, second = one.ask(CONTEXT, wanted), two.ask(CONTEXT, wanted, metrics="kl")
        assert first.claim(wanted[:2]).mine == tuple(wanted[:2])
        found = second.claim(wanted)
        assert (found.mine, found.taken) == ((wanted[2],), tuple(wanted[:2]))
        first.add([measured(wanted[0], kl=[1])], one.begin({}))
        assert second.claim(wanted[:1]) == type(found)((), ())
        first.release()
        assert second.claim(wanted[:2]).mine == (wanted[1],)
        assert one.summary()[0]["claimed"] == 2
        second.release()
        assert one.summary()[0]["claimed"] == 0


# What a lesion needs beside the network


def test_results_under_other_material_are_other_results(store):
    one, plain = MeanBranch((2,)), Delete((1,))
    early, late = {one: "e" * 64}, {one: "f" * 64}
    added(store, measured(one, 3), measured(plain), materials=early)
    asked = store.ask(CONTEXT, [one, plain], materials=late)
    assert asked.missing == [one]
    asked.add([measured(one, 4)], store.begin({}))
    assert asked.missing == []
    for materials, correct in ((early, 3), (late, 4), (None, 4)):
        found = store.outcomes(CONTEXT, [one, plain], materials=materials)
        assert (found[one].correct, found[plain].correct) == (correct, 5)
        assert store.missing(CONTEXT, [one], materials=materials) == []
    assert store.missing(CONTEXT, [one], materials={one: "0" * 64}) == [one]
    frame = store.frame(CONTEXT)
    assert frame["material"].tolist() == ["", "e" * 12, "f" * 12]
    assert frame["correct"].tolist() == [5, 3, 4]
    assert "material" not in store.frame(CONTEXT, [plain, one], materials=early)
    assert store.frame(CONTEXT, [one], materials=early)["correct"].tolist() == [3]


def test_material_that_is_not_named_is_refused_and_none_is_material_too(store):
    with pytest.raises(UsageError, match="reset 2 needs something beside the network; give its"):
        store.ask(CONTEXT, [Reset((2,))])
    assert store.contexts() == []
    asked = store.ask(CONTEXT, [Reset((2,))], materials={Reset((2,)): ""})
    assert asked.missing == [Reset((2,))]


# Every lesion, under every draw


def test_lesions_with_seeds_of_their_own_are_kept_by_their_text(store):
    lesions = [
        Noise((4,), 0.1, seed=3), Noise((4,), 0.1, seed=4), Noise((4,), 0.2, seed=3),
        Scale((4,), 0.5), Delete((4,)), Delete((1,)).then(Scale((4,), 0.5)),
        Delete((4,)).recalibrated(8, 128),
    ]  # fmt: skip
    materials = {one: "m" for one in lesions if one.needs}
    each = [measured(one, number) for number, one in enumerate(lesions)]
    added(store, *each, materials=materials)
    found = store.outcomes(CONTEXT)
    assert {one: value.correct for one, value in found.items()} == {
        one: number for number, one in enumerate(lesions)
    }
    assert set(store.frame(CONTEXT)["blocks"]) == {one.text for one in lesions}


def test_a_lesion_is_kept_under_each_draw_and_measured_once(store):
    drawn = [replace(Delete((1, 2)), draw=Draw(trial, 7)) for trial in (0, 3)]
    asked = store.ask(CONTEXT, [*drawn, Delete((1, 2)), replace(Delete((1,)), draw=Draw(0, 7))])
    assert asked.lesions == (Delete((1, 2)), Delete((1,)))
    assert all(one.draw is None for one in asked.lesions)
    asked.add([measured(drawn[1]), measured(Delete((1,)))], store.begin({}))
    frame = store.frame(CONTEXT)
    assert frame["trial"].fillna(-1).tolist() == [0, -1, 0, 3]
    assert store.frame(CONTEXT, drawn)["trial"].tolist() == [0, 3]


def test_a_frame_has_the_metrics_that_all_its_lesions_have(store):
    added(
        store,
        measured(intact(), kl=[0.0], classes=[2, 1, 1, 1, 5, 5, 5, 5]),
        measured(Delete((1,)), kl=[2.0]),
    )
    frame = store.frame(CONTEXT)
    assert {"correct", "error", "loss", "kl"} <= set(frame.columns)
    assert "class_correct" not in frame.columns and frame["kl"].tolist() == [0.0, 0.1]
    added(store, measured(Delete((2,))))
    assert "kl" not in store.frame(CONTEXT).columns
    assert store.frame(CONTEXT, metrics=["kl", "top1"])["blocks"].tolist() == ["", "1"]
    by_class = store.frame(CONTEXT, metrics="classes")
    assert by_class["class_correct"].tolist() == [[2, 1, 1, 1]]
    assert store.frame(CONTEXT, [Delete((5,))]).empty


def test_what_no_package_brings_any_more_is_named_and_left_out(store):
    class Gone(Delete):
        kind = "gone"

    @dataclass(frozen=True)
    class Lost(Metric):
        name, summary = "lost", "a metric"
        columns = (Column("lost", "number", None, "Lost"),)

        def size(self, classes):
            return 1

        def measure(self, answers):
            raise AssertionError

        def row(self, state, total):
            return {"lost": float(state[0])}

    KINDS.register("gone", Gone)
    METRICS.register("lost", Lost())
    try:
        added(store, measured(Gone((1,)), lost=[3]), measured(Delete((1,)), lost=[3]))
        assert store.frame(CONTEXT)["lost"].tolist() == [3, 3]
    finally:
        KINDS.forget("gone")
        METRICS.forget("lost")
    with pytest.warns(PluginWarning) as told:
        frame = store.frame(CONTEXT)
    lines = [str(one.message) for one in told]
    assert frame["lesion"].tolist() == ["delete"] and "lost" not in frame.columns
    assert any(line.startswith("lesions of the kind 'gone' are in the store") for line in lines)
    assert any(line.startswith("metric 'lost' is in the store and left out") for line in lines)
    with pytest.warns(PluginWarning, match="kind 'gone'"):
        assert store.outcomes(CONTEXT).keys() == {Delete((1,))}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert store.summary()[0]["measured"] == 2
        assert "lost" in store.summary()[0]["metrics"]
        assert len(store.complete(CONTEXT)) == 2


def test_a_metric_with_settings_is_kept_under_a_name_of_its_own(store):
    @dataclass(frozen=True)
    class Top(Metric):
        name, summary = "top_of_some", "a metric"
        columns = (Column("top_of_some", "integer", "more", "Top"),)
        k: int = 5

        def size(self, classes):
            return 1

        def measure(self, answers):
            raise AssertionError

        def row(self, state, total):
            return {"top_of_some": int(state[0])}

    with pytest.raises(UsageError, match="metric 'top_of_some' has settings, and a store keeps"):
        store.ask(CONTEXT, [Delete((1,))], metrics=[Top(3)])
    METRICS.register("top_of_some", Top(3))
    try:
        assert store.ask(CONTEXT, [Delete((1,))], metrics=[Top(3)]).metrics == ("top_of_some",)
        with pytest.raises(UsageError, match="has settings"):
            store.ask(CONTEXT, [Delete((1,))], metrics=[Top(4)])
    finally:
        METRICS.forget("top_of_some")
    with pytest.raises(UsageError, match="metric 'klx' is unknown"):
        store.ask(CONTEXT, [Delete((1,))], metrics="klx")


def test_counts_of_a_vocabulary_are_kept_where_they_are_asked_for(store):
    about = {**CONTEXT.about, "num_classes": 50_000}
    wide = replace(CONTEXT, about=about)
    assert store.ask(wide, [intact()]).measures == ("top1", "loss")
    assert store.ask(wide, [intact()], metrics="classes").measures == ("classes", "top1", "loss")


# Numbers come back exactly

NUMBERS = st.one_of(
    st.integers(0, 2**53).map(float), st.floats(allow_nan=True), st.sampled_from([-0.0, 0.0])
)


@given(st.lists(NUMBERS, max_size=40), st.integers(0, 60))
@settings(max_examples=20, deadline=None)
def test_states_come_back_to_the_last_bit(values, zeros):
    state = np.array([*values, *[0.0] * zeros])
    found = decode_state(encode_state(state))
    assert found.dtype == np.float64 and found.tobytes() == state.tobytes()


@pytest.mark.parametrize(
    ("state", "size"), [([], 1), ([255], 2), ([256, 1], 5), ([70000], 5), ([2**32], 9), ([0.5], 9)]
)
def test_states_take_few_bytes(state, size):
    assert len(encode_state(state)) == size


def test_a_large_matrix_of_counts_is_packed():
    counts = np.zeros(1000 * 1000)
    counts[::1001] = 50
    assert len(encode_state(counts)) < 20_000
    assert decode_state(encode_state(counts)).tolist() == counts.tolist()


@given(st.lists(st.integers(-1, 9), min_size=1, max_size=30), st.integers(0, 9))
@settings(max_examples=20, deadline=None)
def test_predictions_come_back(predicted, label):
    predictions = np.array(predicted, np.int32)
    labels = np.full(len(predicted), label, np.int32)
    content = encode_predictions(predictions, labels, 10)
    assert decode_predictions(content, labels, 10).tolist() == predicted


# Tables of analyses


def tables():
    return pd.DataFrame(
        {
            "text": pd.Series(["a", "", "ü'\"\n"], dtype="str"),
            "whole": pd.Series([1, -2, 2**62], dtype="int64"),
            "some": pd.Series([1, pd.NA, 3], dtype="Int64"),
            "exact": pd.Series([1, 2**200, -(10**40)], dtype=object),
            "number": pd.Series([0.1 + 0.2, math.nan, -math.inf], dtype="float64"),
            "tiny": pd.Series([5e-324, -0.0, 1.7976931348623157e308], dtype="float64"),
            "truth": pd.Series([True, False, True], dtype="bool"),
            "counts": pd.Series([[1, 2], [], [3]], dtype=object),
        }
    )


def test_the_table_of_any_analysis_comes_back_exactly(store):
    frame = tables()
    frame.attrs = {
        "provenance": {"time": "now", "ratio": 0.1}, "big": 2**80, "nan": math.nan,
        "array": np.arange(3), "scalar": np.float64(0.1), "pairs": [[1, 2]], "model": "m",
    }  # fmt: skip
    options = {"spans": (1, 2), "metric": "loss", "share": 0.1}
    run = store.begin({"by": "hand"})
    store.keep_analysis(CONTEXT, "influence", options, frame, run)
    found = store.analysis(CONTEXT, "influence", {"share": 0.1, "spans": [1, 2], "metric": "loss"})
    pd.testing.assert_frame_equal(found, frame, check_exact=True)
    assert found.dtypes.tolist() == frame.dtypes.tolist()
    assert [type(value) for value in found["exact"]] == [int] * 3
    assert found["tiny"].to_numpy().tobytes() == frame["tiny"].to_numpy().tobytes()
    assert found.attrs["analysis"] == "influence" and found.attrs["array"] == [0, 1, 2]
    assert found.attrs["big"] == 2**80 and found.attrs["scalar"] == 0.1
    assert math.isnan(found.attrs["nan"])
    assert store.provenance(CONTEXT) == [{"by": "hand"}]


def test_analyses_are_told_apart_by_name_options_and_context(store):
    run = store.begin({})
    frame = pd.DataFrame({"a": [1]})
    for context in (CONTEXT, context_of("train")):
        for name in ("paths", "influence"):
            for options in ({}, {"seed": 1}):
                frame = frame + 1
                store.keep_analysis(context, name, options, frame, run)
                store.keep_analysis(context, name, options, frame * 100, run)
    assert store.analysis(CONTEXT, "paths", {"seed": 1})["a"].tolist() == [3]
    assert store.analysis(CONTEXT, "paths", {"seed": 2}) is None
    assert store.analysis(context_of("other"), "paths", {}) is None
    assert [one["a"][0] for one in store.analyses(CONTEXT)] == [2, 3, 4, 5]
    found = store.analyses(context_of("train"), "influence")
    assert [(one.attrs["analysis"], one["a"][0]) for one in found] == [
        ("influence", 8), ("influence", 9)
    ]  # fmt: skip
    assert [entry["analyses"] for entry in store.summary()] == [4, 4]


def test_an_empty_table_comes_back(store):
    frame = tables().iloc[:0]
    store.keep_analysis(CONTEXT, "none", {}, frame, store.begin({}))
    found = store.analysis(CONTEXT, "none", {})
    assert found.empty and list(found.columns) == list(frame.columns)


# Merging


def test_merging_takes_over_what_is_missing_metric_by_metric(store, tmp_path):
    one, two, three = (Delete((number,)) for number in (1, 2, 3))
    other = tmp_path / "other.db"
    material = {MeanBranch((1,)): "m" * 64}
    added(store, measured(one, 5), measured(two, 5), measured(three, 5))
    with Store(other) as source:
        added(source, measured(one, 5, kl=[0.5]), measured(two, 6, 9.0), measured(three, 5, 0.7))
        added(source, measured(MeanBranch((1,)), 2), materials=material)
        source.keep_analysis(CONTEXT, "influence", {}, tables(), source.begin({}))
        source.ask(CONTEXT, [Delete((4,))])
    done = store.merge(other)
    assert (done.added, done.known, done.different) == (3, 1, 1)
    found = store.outcomes(CONTEXT, materials=material)
    assert found[one].states["kl"].tolist() == [0.5] and found[two].correct == 5
    assert found[three].loss_sum == 0.5 and found[MeanBranch((1,))].correct == 2
    assert store.missing(CONTEXT, [MeanBranch((1,))], materials=material) == []
    assert store.ask(CONTEXT, [Delete((4,))]).missing == [Delete((4,))]
    pd.testing.assert_frame_equal(store.analysis(CONTEXT, "influence", {}), tables())
    again = store.merge(other)
    assert (again.added, again.known, again.different) == (0, 4, 1)


def test_a_source_that_grows_meanwhile_is_merged_as_of_one_moment(store, tmp_path, monkeypatch):
    with Store(tmp_path / "other.db") as source:
        added(source, measured(Delete((1,))))
        real = merger._copy_lesions

        def growing(*arguments):
            found = real(*arguments)
            added(source, measured(Delete((2,))))
            return found

        monkeypatch.setattr(merger, "_copy_lesions", growing)
        assert store.merge(source.path).added == 1
        monkeypatch.undo()
        assert store.merge(source.path).added == 1
    assert store.outcomes(CONTEXT).keys() == {Delete((1,)), Delete((2,))}


def test_a_store_of_another_version_is_named(store):
    path = store.path
    store.close()
    with contextlib.closing(sqlite3.connect(path)) as raw:
        raw.execute("PRAGMA user_version = 4")
    with pytest.raises(StoreError, match="has version 4 of the tables, this program reads ver"):
        Store(path)


# What is missing is measured


def answers(unit, _progress=None):
    return [measured(one, kl=[1.0]) for one in unit], {}


def test_missing_lesions_are_measured_in_units_that_begin_alike(store):
    again = Delete((1,)).recalibrated(2, 4)
    other = Intact().recalibrated(2, 4)
    wanted = [again, Delete((6,)), Delete((1, 2)), other, Scale((6,), 0.5), Delete((1,)), intact()]
    materials = {again: "m", other: "m"}
    asked = store.ask(CONTEXT, wanted, metrics="kl", materials=materials)
    units, told = [], []

    def measure(unit, progress):
        units.append(list(unit))
        progress(20 * len(unit), 0)
        return answers(unit)

    filled = fill(
        asked, measure, begin=lambda: store.begin({"by": "hand"}), pace=Pace(most=3),
        report=lambda *done: told.append(done),
    )  # fmt: skip
    order = [one for unit in units for one in unit]
    assert order[0] == intact() and set(order[-2:]) == {again, other}
    assert abs(order.index(Delete((1,))) - order.index(Delete((1, 2)))) == 1
    assert [len(unit) for unit in units] == [3, 3, 1]
    assert told == [(60, 140), (120, 140), (140, 140)]
    assert (filled.measured, filled.failed, asked.missing) == (7, {}, [])
    assert store.provenance(CONTEXT) == [{"by": "hand"}]
    again = fill(asked, measure, begin=lambda: store.begin({}), report=lambda *_: None)
    assert again.measured == 0 and len(units) == 3


def test_what_fails_is_noted_and_what_is_left_out_is_let_go(store):
    asked = store.ask(CONTEXT, [Delete((number,)) for number in (1, 2, 3)])
    one, two, three = asked.lesions

    def measure(unit, _progress):
        return [measured(one)], {two: "too large"}

    filled = fill(asked, measure, begin=lambda: store.begin({}), report=lambda *_: None)
    assert filled.failed == store.failures(CONTEXT) == {two: "too large"}
    assert asked.missing == [two, three] and store.summary()[0]["claimed"] == 0

    def broken(_unit, _progress):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fill(asked, broken, begin=lambda: store.begin({}), report=lambda *_: None)
    assert store.summary()[0]["claimed"] == 0


def test_lesions_that_another_process_measures_are_waited_for(tmp_path, monkeypatch):
    monkeypatch.setattr(filler, "_PAUSE", 0.01)
    with Store(tmp_path / "study.db") as one, Store(tmp_path / "study.db") as two:
        wanted = [Delete((number,)) for number in range(1, 7)]
        first, second = one.ask(CONTEXT, wanted), two.ask(CONTEXT, wanted)
        theirs = first.claim(wanted[:4]).mine
        units = []

        def measure(unit, _progress):
            units.append(list(unit))
            if len(units) == 1:
                first.add(answers(theirs[:3])[0], one.begin({}))
            first.release()
            return answers(unit)

        filled = fill(second, measure, begin=lambda: two.begin({}), report=lambda *_: None)
        assert units == [wanted[4:], wanted[3:4]] and filled.measured == 3
        assert second.missing == []


def test_a_unit_is_a_minute_of_work():
    pace = Pace(seconds=60, most=100)
    assert pace.size() == 8
    pace.times = [(8, 10.0 + 8 * 2.0)]
    assert pace.size() == int(60 / (26 / 8))
    pace.times = [(8, 10.0 + 8 * 2.0), (16, 10.0 + 16 * 2.0)]
    assert pace.size() == 50  # ten times what reading the data costs is more than a minute
    pace.times = [(8, 0.001), (16, 0.002)]
    assert pace.size() == 100


# Odd contents


def test_lesions_without_a_common_metric_are_shown_as_far_as_they_were_measured(store):
    one, two = Delete((1,)), Delete((2,))
    asked = store.ask(CONTEXT, [one, two])
    kept = [Outcome(one, 20, 0, {"kl": np.array([1.0])}), measured(two)]
    asked.add(kept, store.begin({}))
    assert store.frame(CONTEXT)["blocks"].tolist() == ["2"]
    assert store.frame(CONTEXT, metrics="kl")["blocks"].tolist() == ["1"]
    assert store.outcomes(CONTEXT).keys() == {one, two}
    assert store.class_frame(CONTEXT).empty


def test_outcomes_of_several_runs_tell_the_greatest_number_that_was_not_finite(store):
    one = Delete((1,))
    added(store, measured(one))
    added(store, replace(measured(one, kl=[1.0]), nonfinite=2), metrics=("kl", "top1"))
    assert store.outcomes(CONTEXT, metrics="top1")[one].nonfinite == 0
    assert store.outcomes(CONTEXT)[one].nonfinite == 2
    assert store.summary()[0]["nonfinite"] == 1
