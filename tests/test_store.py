"""The store of results: what it keeps, what is the same result, and what it refuses."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from dataclasses import replace

import pandas as pd
import pytest
import stores
import torch
from stores import decomposed, files, images, lesions, model, modules_after, outcome, sweep, table
from torch import nn

import ensembles
from ensembles.errors import DataError, StoreError, UsageError
from ensembles.lesions import Lesion, intact, random_deletions, single_deletions
from ensembles.store import Store
from ensembles.store.blobs import decode_state, encode_state
from ensembles.store.description import describe
from ensembles.store.seals import sealed


@pytest.fixture
def path(tmp_path):
    return tmp_path / "study.db"


@pytest.fixture(scope="module")
def filled(tmp_path_factory):
    """A store of one sweep; to be read, or copied."""
    path = tmp_path_factory.mktemp("filled") / "study.db"
    sweep(path, predictions=True)
    return path


def context_of(store):
    [context] = store.contexts()
    return context


def measured(frame):
    return frame.attrs["store"]["measured"]


def test_a_stored_sweep_is_the_sweep(path):
    plain = ensembles.lesion(decomposed(), images(), lesions(), device="cpu", engine="direct")
    first, second = sweep(path), sweep(path)
    pd.testing.assert_frame_equal(first, plain)
    pd.testing.assert_frame_equal(second, plain)
    distinct = len(set(lesions()))
    assert (measured(first), measured(second)) == (distinct, 0)
    assert second.attrs["store"]["known"] == distinct
    assert len(second.attrs["runs"]) == 1
    assert {"time", "command", "versions", "device", "precision", "threads"} <= set(
        second.attrs["runs"][0]
    )
    assert len(plain["correct"].unique()) > 3
    assert files(path.parent) == ["study.db"]


def test_units_do_not_change_a_result(path, monkeypatch):
    whole = sweep(path)
    monkeypatch.setattr("ensembles.store.filler.Pace", stores.Small)
    cut = sweep(path.with_name("cut.db"))
    pd.testing.assert_frame_equal(cut, whole)


def test_more_trials_extend_a_sweep(path):
    few, n = lesions(2), len(stores.PLAN)
    many = [intact(), *single_deletions(n), *random_deletions(n, [2, 3], 5)]
    known = set(few)
    assert set(few) <= set(many)
    sweep(path, few)
    frame = sweep(path, many)
    assert measured(frame) == len(set(many) - known)
    assert len(frame) == len(many)
    again = table(path)
    assert len(again) == len(many) and list(again["trial"].dropna().unique()) == [0, 1, 2, 3, 4]


def test_a_lesion_drawn_twice_is_measured_once(path):
    twice = [intact(), *(Lesion("delete", (1, 2), trial=t, seed=0) for t in (0, 1))]
    frame = sweep(path, [*twice, Lesion("delete", (1, 2))])
    assert measured(frame) == 2
    assert list(frame["trial"].fillna(-1)) == [-1, 0, 1, -1]
    stored = table(path)
    assert list(stored["trial"].fillna(-1)) == [-1, -1, 0, 1]
    assert stored["correct"].nunique() <= 2


def saved_again(folder):
    """The same weights, read from a file of another name."""
    torch.save(model().state_dict(), folder / "other-name.pt")
    twin = model(seed=2)
    twin.load_state_dict(torch.load(folder / "other-name.pt", weights_only=True))
    return twin.eval()


def test_the_same_file_under_another_name_is_a_hit(filled, tmp_path):
    frame = sweep(
        filled, net=decomposed(saved_again(tmp_path)), model="another name", predictions=True
    )
    assert measured(frame) == 0
    assert frame.attrs["model"] == "another name"


def other_weight():
    changed = model()
    with torch.no_grad():
        changed.classifier.bias[0] += 1e-6
    return changed


def other_setting():
    changed = model()
    changed.stem[1].eps = 1.1e-5
    return changed


def relabelled():
    data = images()
    labels = data.labels.clone()
    labels[0] = (labels[0] + 1) % 5
    source = replace(data._source, labels=labels)
    return type(data)(data.name, data.split, data.classes, source, data.normalization)


OTHERS = {
    "weights": lambda: {"net": decomposed(other_weight())},
    "a layer's setting": lambda: {"net": decomposed(other_setting())},
    "fewer blocks": lambda: {
        "net": decomposed(blocks=r"blocks\.[1-4]"), "wanted": single_deletions(4)
    },
    "precision": lambda: {"precision": "bf16"},
    "engine": lambda: {"engine": "shared"},
    "normalisation": lambda: {"data": images(normalization="0.4/0.21")},
    "labels": lambda: {"data": relabelled()},
    "pixels": lambda: {"data": images(seed=1)},
    "limit": lambda: {"data": images().limited(29)},
    "lesion": lambda: {"wanted": [Lesion("duplicate", (1,))]},
    "engine version": lambda: {},
}  # fmt: skip


@pytest.mark.parametrize("what", OTHERS)
def test_another_thing_is_never_a_hit(what, filled, path, monkeypatch):
    path.write_bytes(filled.read_bytes())
    if what == "engine version":
        monkeypatch.setattr("ensembles.store.description.ENGINE_VERSION", 2)
    options = {"predictions": True, **OTHERS[what]()}
    wanted = list(options.pop("wanted", [Lesion("delete", (1,))]))
    frame = sweep(path, wanted, **options)
    assert measured(frame) == len(wanted) + (what != "lesion")


def test_digests_are_those_of_another_process(filled):
    code = (
        "import stores; from ensembles.store.description import describe;"
        "print(describe(stores.decomposed(), stores.images(), engine='direct')[0].key.digest)"
    )
    environment = {**os.environ, "PYTHONHASHSEED": "7", "PYTHONPATH": "tests"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True,
        cwd=os.path.dirname(os.path.dirname(__file__)),  # noqa: PTH120
    )  # fmt: skip
    with Store(filled, mode="r") as store:
        assert done.stdout.strip() == context_of(store).key.digest


def test_counts_by_class_and_predictions_are_those_of_the_logits(filled):
    net, data = decomposed(), images()
    batch, labels = next(data.batches(100))
    with Store(filled, mode="r") as store, torch.inference_mode():
        context = store.contexts()[0]
        predictions, outcomes = store.predictions(context), store.outcomes(context)
        assert store.labels(context).tolist() == labels.tolist()
        one = Lesion("delete", (2,))
        x = net.stem(batch)
        for block in net:
            x = block.deleted(x) if block.index == 2 else block(x)
        expected = net.head(x).argmax(1)
        assert predictions[one].tolist() == expected.tolist()
        correct = (expected == labels).numpy()
        by_class = [int(correct[labels.numpy() == c].sum()) for c in range(5)]
        assert outcomes[one].class_correct == tuple(by_class)
        frame = store.class_frame(context)
        rows = frame[(frame["lesion"] == "delete") & (frame["blocks"] == "2")]
        assert rows["correct"].tolist() == by_class
        assert rows["class"].tolist() == list(data.classes)
        assert rows["total"].tolist() == torch.bincount(labels, minlength=5).tolist()
        for lesion, outcome in outcomes.items():
            right = (predictions[lesion] == labels.numpy()).sum()
            assert right == outcome.correct == sum(outcome.class_correct)


def test_predictions_that_were_not_kept_are_made_when_asked_for(path):
    first = sweep(path)
    with Store(path) as store:
        assert store.predictions(context_of(store)) == {}
        assert store.summary()[0]["predictions"] == 0
    second = sweep(path, predictions=True)
    assert measured(second) == measured(first)
    pd.testing.assert_frame_equal(first, second)
    with Store(path) as store:
        assert len(store.predictions(context_of(store))) == measured(first)
        assert store.summary()[0]["predictions"] == measured(first)
    assert measured(sweep(path)) == 0


def test_predictions_need_a_store():
    with pytest.raises(UsageError, match="predictions are kept in a store only"):
        ensembles.lesion(decomposed(), images(), predictions=True)


def test_foreign_data_are_known_by_what_they_hold(path):
    batch = next(images().batches(100))
    first = sweep(path, data=[batch])
    again = sweep(path, data=torch.utils.data.TensorDataset(*batch))
    assert (measured(first) > 0, measured(again)) == (True, 0)
    moved = sweep(path, data=[(batch[0] + 1e-6, batch[1])])
    assert measured(moved) == measured(first)


def test_data_that_can_be_read_once_are_refused(path):
    with pytest.raises(DataError, match="a store needs data that can be read again, found a gen"):
        sweep(path, data=(batch for batch in images().batches(10)))


def test_data_that_change_are_refused_and_leave_nothing(path):
    everything = torch.utils.data.TensorDataset(*next(images().batches(100)))
    loader = torch.utils.data.DataLoader(everything, batch_size=7, shuffle=True)
    with pytest.raises(DataError, match="gave other images or another order when they were read"):
        sweep(path, data=loader)
    with Store(path) as store:
        assert store.summary()[0]["measured"] == 0


class Cancels(nn.Module):
    def forward(self, x):
        return -x


class Squares(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(4, 4, 1)

    def forward(self, x):
        return self.conv(x * x)


class Chain(nn.Module):
    """Without its first block, it overflows."""

    def __init__(self):
        super().__init__()
        self.stem, self.head = nn.Conv2d(3, 4, 1), nn.Linear(4, 5)
        self.a, self.b, self.weigh = Cancels(), Squares(), nn.Conv2d(4, 4, 1, bias=False)
        nn.init.eye_(self.weigh.weight[:, :, 0, 0].data)

    def forward(self, x):
        x = self.stem(x) * 1e30
        x = x + self.weigh(self.a(x))
        x = x + self.b(x)
        return self.head(x.mean((2, 3)))


def test_logits_that_are_not_finite_are_recorded_as_such(path):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = ensembles.decompose(Chain().eval(), torch.randn(2, 3, 8, 8))
    frame = sweep(path, single_deletions(2), net=net, predictions=True)
    assert frame["nonfinite"].tolist() == [0, 30, 0]
    assert pd.isna(frame["error"]).tolist() == [False, True, False]
    assert table(path)["nonfinite"].tolist() == [0, 30, 0]
    with Store(path) as store:
        context = context_of(store)
        assert set(store.predictions(context)[Lesion("delete", (1,))].tolist()) == {-1}
        assert store.summary()[0]["nonfinite"] == 1


def test_merging_adds_what_is_missing(tmp_path):
    n = len(stores.PLAN)
    left, right, both = (tmp_path / f"{name}.db" for name in ("left", "right", "both"))
    sweep(left, [intact(), *single_deletions(n)])
    sweep(right, lesions(), predictions=True)
    sweep(both, [intact(), *single_deletions(n), *lesions()], predictions=True)
    with Store(left) as store:
        done = store.merge(right)
        assert (done.known, done.different) == (n + 1, 0)
        assert done.added == store.summary()[0]["measured"] - n - 1
        assert store.merge(right) == replace(done, added=0, known=done.known + done.added)
        assert len(store.provenance(context_of(store))) == 1  # the second brought predictions too
        assert len(store.predictions(context_of(store))) == done.known + done.added
    pd.testing.assert_frame_equal(table(left), table(both))


def test_merging_tells_of_other_counts_and_keeps_the_first(tmp_path):
    left, right = tmp_path / "left.db", tmp_path / "right.db"
    for path in (left, right):
        sweep(path)
    with sqlite3.connect(right) as raw:
        raw.execute("DELETE FROM states WHERE lesion = 2 AND metric = 'classes'")
        [(total, content)] = raw.execute(
            "SELECT total, state FROM states WHERE lesion = 2 AND metric = 'top1'"
        )
        other = encode_state([0 if decode_state(content)[0] else 1])
        [run] = raw.execute("SELECT run FROM states WHERE lesion = 2").fetchone()
        row = sealed(2, "top1", run, total, 0, other)
        raw.execute("INSERT OR REPLACE INTO states VALUES (?, ?, ?, ?, ?, ?, ?)", row)
    raw.close()
    before = table(left)
    with Store(left) as store:
        assert store.merge(right).different == 1
        with pytest.raises(StoreError, match="cannot be merged into itself"):
            store.merge(left)
    pd.testing.assert_frame_equal(table(left), before)


def test_path_analyses_are_kept_with_their_options(path):
    net, data = decomposed(), images()
    options = {"signs": 4, "images": 3, "device": "cpu", "progress": False}
    plain = ensembles.paths(net, data, **options)
    first = ensembles.paths(net, data, store=path, **options)
    again = ensembles.paths(net, data, store=path, **options)
    for frame in (first, again):
        pd.testing.assert_frame_equal(frame, plain)
    assert [f.attrs["store"]["known"] for f in (first, again)] == [False, True]
    assert again.attrs["weight_layers"] == plain.attrs["weight_layers"]
    others = [{"signs": 6}, {"seed": 1}, {"images": 2}, {"precision": "fp64"},
              {"direction": "logits"}, {"direction": "logits", "per_class": True}]  # fmt: skip
    for other in others:
        frame = ensembles.paths(net, data, store=path, **{**options, **other})
        assert not frame.attrs["store"]["known"], other
    idle = ensembles.paths(net, data, store=path, **{**options, "samples": 7, "memory": 1e9})
    assert idle.attrs["store"]["known"]
    with Store(path) as store:
        assert sum(entry["analyses"] for entry in store.summary()) == 1 + len(others)
        assert len(store.analyses(store.contexts()[0], "paths")) == len(others)


def test_notes_are_kept(path):
    with Store(path) as store:
        assert store.note("plan") is None
        store.keep_note("plan", {"seeds": [1, 2]})
        store.keep_note("plan", {"seeds": [3]})
    with Store(path, mode="r") as store:
        assert dict(store.notes()) == {"plan": {"seeds": [3]}}


def with_pragma(path, pragma):
    Store(path).close()
    with sqlite3.connect(path) as raw:
        raw.execute(f"PRAGMA {pragma}")
    raw.close()


def foreign(path):
    with sqlite3.connect(path) as raw:
        raw.execute("CREATE TABLE t (a)")
    raw.close()


REFUSED = {
    "text": (lambda p: p.write_text("lesion,blocks\ndelete,1\n" * 99), "is no store of results"),
    "folder": (lambda p: p.mkdir(), "is a folder"),
    "another program's": (foreign, "is the SQLite file of another program"),
    "newer": (lambda p: with_pragma(p, "user_version = 99"), "has version 99 of the tables"),
    "older": (lambda p: with_pragma(p, "user_version = 0"), "has version 0 of the tables"),
    "cut off": (
        lambda p: (sweep(p), p.write_bytes(p.read_bytes()[:9000])), "is damaged|is no store"
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", REFUSED)
@pytest.mark.parametrize("mode", ["a", "r"])
def test_what_is_no_store_is_refused_by_name_and_left_alone(what, mode, path):
    make, message = REFUSED[what]
    make(path)
    before = path.read_bytes() if path.is_file() else None
    with pytest.raises(StoreError, match=message) as caught, Store(path, mode=mode) as store:
        store.frame(store.contexts()[0])
    assert str(path) in str(caught.value)
    assert before is None or path.read_bytes() == before
    assert files(path.parent) == ["study.db"]


def test_places_where_there_can_be_no_store(tmp_path):
    with pytest.raises(StoreError, match=r"there is no folder .*none; make it first"):
        Store(tmp_path / "none" / "study.db")
    with pytest.raises(StoreError, match="there is no such file"):
        Store(tmp_path / "study.db", mode="r")
    (tmp_path / "empty.db").touch()
    with pytest.raises(StoreError, match="is empty, nothing has been stored in it"):
        Store(tmp_path / "empty.db", mode="r")
    with pytest.raises(UsageError, match="mode 'w' of a store; expected a or r"):
        Store(tmp_path / "study.db", mode="w")
    if os.path.exists("/dev/full"):  # noqa: PTH110
        with pytest.raises(StoreError, match="store /dev/full: is no plain file"):
            Store("/dev/full")


def test_a_store_that_is_read_takes_nothing(filled):
    with Store(filled, mode="r") as store, pytest.raises(StoreError, match="opened for reading"):
        store.keep_note("a", 1)


def many_rows(path, number):
    """A store of random deletions of 54 blocks, made without a network."""
    sweep(path)
    with Store(path) as store:
        context = context_of(store)
        wanted = random_deletions(len(stores.PLAN), [1, 2, 3], number // 3)
        context = replace(context, key=replace(context.key, split="many"))
        wide = [replace(one, blocks=(one.blocks[0], 10 + i)) for i, one in enumerate(wanted)]
        asked = store.ask(context, wide)
        asked.add((outcome(one) for one in wide), store.begin({}))
    return context, wide


def test_questions_to_a_store_are_answered_through_its_indices(path):
    context, wide = many_rows(path, 900)
    asked = []
    with Store(path) as store:
        store.connection._raw.set_trace_callback(asked.append)
        assert store.missing(context, wide) == store.ask(context, wide).missing == []
        assert len(store.outcomes(context, wide[:5])) == 5
        assert len(store.complete(context)) == 900
        assert [entry["measured"] for entry in store.summary()][1] == 900
        store.connection._raw.set_trace_callback(None)
        plans = {
            sql: [row[3] for row in store.connection.rows(f"EXPLAIN QUERY PLAN {sql}")]
            for sql in asked
            if sql.startswith("SELECT") and "WHERE context" in sql
        }
    assert len(plans) >= 3
    for sql, plan in plans.items():
        assert not any(step.startswith("SCAN") for step in plan), (sql, plan)
        assert any("SEARCH lesions USING" in step and "(context=?" in step for step in plan), plan


def test_without_numbers_torch_is_not_needed(filled):
    told = "assert s.summary()[0]['measured']; s.contexts(); list(s.notes()); s.reasons(c[0])"
    assert modules_after(f"c = s.contexts(); {told}; s.states(c[0])", filled) == []
    numbers = "c = s.contexts()[0]; s.labels(c); s.complete(c); s.class_frame(c); s.predictions(c)"
    assert "torch" not in modules_after(f"{numbers}; assert len(s.frame(c)); s.analyses(c)", filled)


def test_contexts_say_what_they_are(filled):
    with Store(filled) as store:
        context = context_of(store)
    again, _ = describe(decomposed(), images(), engine="direct", model="other")
    assert context == again and context.key.digest == again.key.digest
    assert context.about["dataset"] == "noise" and context.model == "Network"
    assert context.key.images == 30 and context.key.image_shape == (3, 8, 8)
