"""A store of version 1 is brought up to date, whatever happens meanwhile, and loses nothing."""

from __future__ import annotations

import base64
import contextlib
import json
import math
import os
import random
import shutil
import signal
import sqlite3
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import version_1
from stores import files, fill, in_a_process, modules_after, status_of

import ensembles
from ensembles.errors import StoreError
from ensembles.lesions import Draw, parse_lesion
from ensembles.store import Context, Key, Store, connection, migration, schema, sqlite
from ensembles.store.description import describe

unix = pytest.mark.skipif(os.name != "posix", reason="needs the signals and limits of Unix")


@pytest.fixture(scope="module")
def contents():
    """What version 1 said was in its store."""
    return json.loads(version_1.CONTENTS.read_text(encoding="utf-8"))


@pytest.fixture
def path(tmp_path):
    """A store of version 1."""
    folder = tmp_path / "stores"
    folder.mkdir()
    return Path(shutil.copy(version_1.STORE, folder / "study.db"))


def lesion_of(name):
    kind, _, text = name.partition(" ")
    return parse_lesion(kind, text)


def check_all(store, contents):
    """Everything is there: lesions, draws, counts, predictions, failures, analyses, notes, runs."""
    assert dict(store.notes()) == contents["notes"]
    assert store.connection.rows("SELECT token, provenance FROM runs ORDER BY id") == [
        tuple(run) for run in contents["runs"]
    ]
    for entry, known in zip(store.summary(), contents["summary"], strict=True):
        assert entry.items() >= known.items()
    for context, known in zip(store.contexts(), contents["contexts"], strict=True):
        check_context(store, context, known)


def check_context(store, context, known):
    assert (context.key.digest, context.key.text) == (known["digest"], known["key"])
    assert (context.about, context.labels) == (known["about"], base64.b64decode(known["labels"]))
    outcomes = store.outcomes(context)
    assert outcomes.keys() == {lesion_of(name) for name in known["lesions"]}
    for name, (correct, total, loss, nonfinite, by_class) in known["lesions"].items():
        found = outcomes[lesion_of(name)]
        assert (found.correct, found.total, found.nonfinite) == (correct, total, nonfinite)
        assert found.loss_sum == loss or (math.isnan(loss) and math.isnan(found.loss_sum))
        assert found.class_correct == (None if by_class is None else tuple(by_class))
    predictions = {f"{k.kind} {k.text}": v.tolist() for k, v in store.predictions(context).items()}
    assert predictions == known["predictions"]
    failures = {f"{k.kind} {k.text}": why for k, why in store.failures(context).items()}
    assert failures == known["failures"]
    assert store.provenance(context) == known["provenance"]
    frame = store.frame(context)
    check_frame(frame, known["frame"])
    drawn = {tuple(row) for row in known["drawn"]}
    columns = without_attributes(frame)
    assert set(zip(*(values_of(columns[name]) for name in DRAWN), strict=True)) == drawn
    check_frame(store.class_frame(context), known["class_frame"])
    for table, told in zip(store.analyses(context, "paths"), known["paths"], strict=True):
        check_frame(table, told)
        assert list(table.columns) == list(told["columns"])
        assert table.attrs["analysis"] == "paths"
    assert len(store.analyses(context)) == len(known["paths"])


DRAWN = ["lesion", "blocks", "trial", "seed"]


def check_frame(frame, known):
    """The columns of version 1 are there with their types and values, and its attributes."""
    columns = without_attributes(frame)
    for name, values in known["columns"].items():
        dtype = known["dtypes"][name]
        assert str(columns[name].dtype).replace("object", "str") == dtype.replace("object", "str")
        assert values_of(columns[name]) == values, name
    assert frame.attrs.items() >= known["attrs"].items()


def without_attributes(frame):
    """The same columns; pandas copies the attributes of a frame with each look at a column."""
    columns = frame.copy(deep=False)
    columns.attrs = {}
    return columns


def values_of(column):
    return column.astype(object).where(column.notna(), None).tolist()


@pytest.mark.parametrize("mode", ["a", "r"])
def test_all_that_version_1_kept_is_there(path, contents, mode):
    before = path.read_bytes()
    with Store(path, mode=mode) as store:
        check_all(store, contents)
    assert files(path.parent) == ["study.db"]
    assert (path.read_bytes() == before) == (mode == "r")
    with Store(path, mode="r") as store:
        check_all(store, contents)


def test_reading_it_needs_no_torch():
    code = "c = s.contexts(); s.summary(); assert len(s.frame(c[0])); s.analyses(c[4])"
    assert "torch" not in modules_after(code, version_1.STORE)


def test_nothing_is_lost_by_number(path, contents):
    before = contents["rows"]
    with Store(path) as store:
        rows = {
            table: store.connection.rows(f"SELECT count(*) FROM {table}")[0][0]
            for table in ("runs", "lesions", "draws", "failures", "claims", "analyses", "notes",
                          "analysis_rows", "states", "predictions")
        }  # fmt: skip
    same = {name: before[name] for name in rows.keys() & before.keys()}
    assert rows.items() >= same.items() and len(same) == 7
    assert rows["analysis_rows"] == before["path_rows"]
    assert rows["states"] == 2 * before["outcomes"] + before["details"]
    assert rows["predictions"] == sum(len(one["predictions"]) for one in contents["contexts"])


def test_the_tables_are_those_of_a_new_store(path, tmp_path):
    tables = []
    for place in (path, tmp_path / "new.db"):
        with Store(place) as store:
            sql = "SELECT type, name, sql FROM sqlite_master ORDER BY name"
            tables.append(store.connection.rows(sql))
            assert store.connection.rows("PRAGMA integrity_check") == [("ok",)]
            assert store.connection.rows("PRAGMA foreign_key_check") == []
            assert store.connection.rows("PRAGMA foreign_keys") == [(1,)]
    assert tables[0] == tables[1]


def test_what_metrics_would_have_kept_is_what_they_keep(path):
    with Store(path) as store:
        context = store.contexts()[0]
        labels = store.labels(context)
        for outcome in store.outcomes(context, metrics=["classes"]).values():
            state = outcome.states["classes"]
            assert state[5:].tolist() == np.bincount(labels, minlength=5).tolist()
        overflowing = store.contexts()[3]
        lost = store.outcomes(overflowing)[lesion_of("delete 1")]
        assert lost.nonfinite == lost.total and not lost.states["classes"].any()


# What version 1 measured is found


SUBJECTS = {
    0: lambda: (version_1.network(), version_1.images(), {}),
    1: lambda: (version_1.network(), version_1.foreign(),
                {"engine": "direct", "precision": "bf16"}),
    2: lambda: (version_1.weighted(version_1.Roads()), version_1.images(), {}),
    3: lambda: (version_1.weighted(version_1.Overflowing()), version_1.images(), {}),
    4: lambda: (version_1.network(), version_1.images(), {"engine": "fast"}),
    5: lambda: (version_1.network(), version_1.images(),
                {"engine": "general", "precision": "fp64"}),
    6: lambda: (version_1.network(), version_1.foreign(), {"engine": "fast"}),
}  # fmt: skip


@pytest.mark.parametrize("number", SUBJECTS)
def test_the_key_of_a_network_on_data_is_that_of_version_1(contents, number):
    model, data, options = SUBJECTS[number]()
    context, _ = describe(version_1.decomposed(model), data, **options)
    known = contents["contexts"][number]
    assert json.loads(context.key.text) == json.loads(known["key"])
    assert context.key.text == known["key"] and context.key.digest == known["digest"]
    assert Key.parse(known["key"]) == context.key
    assert context.labels == base64.b64decode(known["labels"])


def test_what_version_1_measured_is_not_measured_again(path, contents):
    options = {"store": path, "device": "cpu", "progress": False}
    net = version_1.decomposed()
    known = contents["contexts"][0]["drawn"]
    drawn = [
        parse_lesion(kind, text, None if trial is None else Draw(trial, seed))
        for kind, text, trial, seed in known
        if (kind, text) != ("duplicate", "1 2 3")  # which no network can run
    ]
    frame = ensembles.lesion(net, version_1.images(), drawn, **options)
    assert frame.attrs["store"]["measured"] == 0 and len(frame) == len(drawn)
    again = ensembles.lesion(net, version_1.foreign(), engine="direct", precision="bf16", **options)
    assert again.attrs["store"]["measured"] == 0 and len(again) == 6
    gradients = {"signs": 4, "samples": 6, "images": 3, "method": "all", "at": "blocks"}
    for chosen in (gradients, {"direction": "logits", "per_class": True}):
        table = ensembles.paths(net, version_1.images(), **chosen, **options)
        assert table.attrs["store"]["known"], chosen


# Kills


def opened(path, number, counted=None):
    """Open a store in a process that is killed before its so-manieth statement, if any."""

    def work():
        real, done = sqlite.connect, [0]

        def count(_statement):
            done[0] += 1
            if done[0] == number:
                os.kill(os.getpid(), signal.SIGKILL)

        def connect(*arguments):
            raw = real(*arguments)
            raw.set_trace_callback(count)
            return raw

        connection.connect = migration.connect = connect
        Store(path).close()
        counted.write_text(str(done[0]))

    return status_of(in_a_process(work))


def old_or_new(path, contents):
    """A file that is the old store or the new one, whole, and whole once it is opened again."""
    with contextlib.closing(sqlite3.connect(path)) as raw:
        [version] = raw.execute("PRAGMA user_version").fetchone()
        assert version in (1, schema.VERSION)
        assert raw.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        name = "outcomes" if version == 1 else "states"
        assert raw.execute(f"SELECT count(*) > 0 FROM {name}").fetchone() == (1,)
        old = raw.execute("SELECT 1 FROM sqlite_master WHERE name LIKE 'old_%'").fetchone()
        assert old is None
    for mode in ("r", "a"):
        with Store(path, mode=mode) as store:
            check_rows(store, contents)
    assert files(path.parent) == ["study.db"]
    return version


CHECKED = set()
"""Rows of stores in which everything was found."""


def check_rows(store, contents):
    """Everything is there; a store of the same rows as one that was checked tells the same."""
    rows = store.connection.rows
    names = [name for (name,) in rows("SELECT name FROM sqlite_master WHERE type = 'table'")]
    told = repr([(name, rows(f"SELECT * FROM {name}")) for name in sorted(names)])
    if told not in CHECKED:
        check_all(store, contents)
        CHECKED.add(told)


@unix
@pytest.mark.slow
def test_killed_at_any_statement_it_is_the_old_or_the_new_store(path, contents, tmp_path):
    assert opened(path, None, tmp_path / "counted") == 0
    last = int((tmp_path / "counted").read_text())
    between = random.Random(0).sample(range(12, last - 8), 6)
    versions, copies = [], 0
    for number in (*range(1, 12), *sorted(between), *range(last - 8, last + 1)):
        shutil.copy(version_1.STORE, path)
        assert opened(path, number) == -signal.SIGKILL
        copies += migration.copy_beside(path).exists()
        versions.append(old_or_new(path, contents))
    assert versions == sorted(versions) and set(versions) == {1, schema.VERSION}
    assert last > 300 and copies >= 4


@unix
@pytest.mark.parametrize(
    "step", ["_keep_copy", "bring_up_to_date", "_check_references", "drop_copy"]
)
@pytest.mark.parametrize("moment", ["before", "after"])
def test_killed_around_each_step_it_is_the_old_or_the_new_store(path, contents, step, moment):
    def work():
        real = getattr(migration, step)

        def ending(*arguments):
            if moment == "after":
                real(*arguments)
            os.kill(os.getpid(), signal.SIGKILL)

        setattr(migration, step, ending)
        Store(path).close()

    assert status_of(in_a_process(work)) == -signal.SIGKILL
    copied = (step, moment) in {
        ("_keep_copy", "after"), ("bring_up_to_date", "before"), ("bring_up_to_date", "after"),
        ("_check_references", "before"), ("_check_references", "after"), ("drop_copy", "before"),
    }  # fmt: skip
    copy = migration.copy_beside(path)
    assert copy.exists() == copied
    if copied:
        kept = Path(shutil.copy(copy, path.parent.parent / "kept.db"))
        with Store(kept, mode="r") as store:
            check_all(store, contents)
    assert old_or_new(path, contents) == (schema.VERSION if step == "drop_copy" else 1)


@unix
def test_killed_while_the_copy_is_written_it_is_the_old_store(path, contents):
    def work():
        whole = migration.atomic

        @contextlib.contextmanager
        def half(copy):
            with whole(copy) as scratch:
                scratch.write_bytes(b"half a copy")
                os.kill(os.getpid(), signal.SIGKILL)
                yield scratch

        migration.atomic = half
        Store(path).close()

    assert status_of(in_a_process(work)) == -signal.SIGKILL
    assert any(name.endswith(".part") for name in files(path.parent))
    assert old_or_new(path, contents) == 1


@unix
def test_killed_at_random_moments_it_is_the_old_or_the_new_store(path, contents):
    draw = random.Random(0)
    began = time.perf_counter()
    assert status_of(in_a_process(lambda: Store(path).close())) == 0
    took = time.perf_counter() - began
    for _ in range(12):
        for name in files(path.parent):
            (path.parent / name).unlink()
        shutil.copy(version_1.STORE, path)
        child = in_a_process(lambda: Store(path).close())
        time.sleep(draw.uniform(0, took))
        os.kill(child, signal.SIGKILL)
        assert status_of(child) in (0, -signal.SIGKILL)
        old_or_new(path, contents)


# Several at once


@unix
@pytest.mark.parametrize("modes", ["aa", "ar", "aarraarr"])
def test_processes_that_open_it_at_once_find_everything(path, contents, modes):
    at = time.time() + 0.2

    def work(mode):
        time.sleep(max(0.0, at - time.time()))
        with Store(path, mode=mode) as store:
            check_all(store, contents)

    errors = [path.parent.parent / f"errors-{number}" for number in range(len(modes))]
    children = [
        in_a_process(lambda mode=mode: work(mode), error)
        for mode, error in zip(modes, errors, strict=True)
    ]
    for child, error in zip(children, errors, strict=True):
        assert status_of(child) == 0, error.read_text()
    assert old_or_new(path, contents) == schema.VERSION


def test_a_program_that_fills_it_meanwhile_is_waited_for(path, contents, monkeypatch):
    monkeypatch.setattr(sqlite, "PATIENCE", 0.1)
    monkeypatch.setattr(sqlite, "_BUSY", 0.1)
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreError, match="another process has held it for 0 s"):
            Store(path)
        with Store(path, mode="r") as store:
            check_all(store, contents)
        other.execute("ROLLBACK")
    assert old_or_new(path, contents) == 1


def test_rows_that_lie_in_the_log_alone_are_taken_along(path):
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as raw:
        raw.execute("PRAGMA journal_mode = WAL")
        raw.execute("PRAGMA wal_autocheckpoint = 0")
        raw.execute("INSERT INTO notes VALUES ('late', '1')")
        assert path.with_name("study.db-wal").stat().st_size
        with Store(path, mode="r") as store:
            assert store.note("late") == 1
        with Store(path) as store:
            assert store.note("late") == 1


# Places that take nothing


@unix
def test_where_nothing_can_be_written_it_is_read_and_not_changed(path, contents, tmp_path):
    before = path.read_bytes()
    place = Path(shutil.copytree(path.parent, tmp_path / "read-only"))
    copied = place / path.name
    copied.chmod(0o444)
    place.chmod(0o555)

    def as_nobody(work):
        def lowered():
            if os.getuid() == 0:
                os.setgid(65534)
                os.setuid(65534)
            work()

        return lowered

    def read():
        with Store(copied, mode="r") as store:
            check_all(store, contents)

    def write():
        with pytest.raises(StoreError, match=r"cannot be (written|opened)"):
            Store(copied)

    warm = Path(shutil.copytree(path.parent, tmp_path / "warm")) / path.name
    with Store(
        warm, mode="r"
    ) as store:  # nobody may not read Python's own files, where root has it
        check_all(store, contents)
    Store(warm).close()
    for folder in (tmp_path, *tmp_path.parents[:3]):
        with contextlib.suppress(PermissionError):
            folder.chmod(0o755)
    errors = tmp_path / "errors"
    try:
        for work in (read, write):
            assert status_of(in_a_process(as_nobody(work), errors)) == 0, errors.read_text()
        assert files(place) == ["study.db"] and copied.read_bytes() == before
    finally:
        place.chmod(0o755)


@pytest.mark.parametrize("checked", [True, False], ids=["asked before", "found while writing"])
def test_a_full_disk_leaves_the_old_store(small_disk, contents, checked, monkeypatch):
    path = Path(shutil.copy(version_1.STORE, small_disk / "study.db"))
    before = path.read_bytes()
    if not checked:
        monkeypatch.setattr(connection, "check_room", lambda *_: None)
        monkeypatch.setattr(migration, "check_room", lambda *_: None)
    for room in (0, 300) if checked else (100, 250, 400):
        ballast = fill(small_disk)
        os.truncate(ballast, max(ballast.stat().st_size - room * 1024, 0))
        with pytest.raises(StoreError, match=r"disk is full|input/output error"):
            Store(path)
        assert files(small_disk) == ["ballast", "study.db"]
        assert path.read_bytes() == before
        with Store(path, mode="r") as store:
            check_all(store, contents)
        ballast.unlink()
    assert old_or_new(path, contents) == 1


def test_a_file_in_the_way_of_the_copy_is_named_and_left_alone(path, contents):
    other = path.with_name("study.db.version-1")
    for content in (b"mine", version_1.STORE.read_bytes()):
        other.write_bytes(content)
        with pytest.raises(StoreError, match=r"study\.db\.version-1 is in the way of the copy"):
            Store(path)
        assert other.read_bytes() == content
        assert files(path.parent) == ["study.db", "study.db.version-1"]
        with Store(path, mode="r") as store:
            check_all(store, contents)
    other.unlink()
    assert old_or_new(path, contents) == 1
    other.write_bytes(b"mine")
    Store(path).close()
    assert other.read_bytes() == b"mine"


def test_a_damaged_store_is_refused_and_left_alone(path):
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as raw:
        raw.execute("UPDATE outcomes SET run = 999 WHERE lesion = 2")
    before = path.read_bytes()
    for mode in ("a", "r"):
        with pytest.raises(StoreError, match=r"is damaged \(4 rows refer to others that are not"):
            Store(path, mode=mode)
        assert path.read_bytes() == before
        assert files(path.parent) == ["study.db"]


# Merging


def test_a_store_of_version_1_is_merged_and_not_changed(path, contents, tmp_path):
    before = path.read_bytes()
    with Store(tmp_path / "all.db") as store:
        done = store.merge(path)
        lesions = sum(len(one["lesions"]) for one in contents["contexts"])
        analyses = sum(len(one["paths"]) for one in contents["contexts"])
        assert (done.added, done.known, done.different) == (lesions + analyses, 0, 0)
        again = store.merge(path)
        assert (again.added, again.known, again.different) == (0, lesions + analyses, 0)
        for context, known in zip(store.contexts(), contents["contexts"], strict=True):
            check_context(store, context, known | {"failures": {}})
        assert dict(store.notes()) == contents["notes"]
    assert path.read_bytes() == before and files(path.parent) == ["study.db"]


def test_a_store_of_version_1_takes_over_another(path, contents, tmp_path):
    context = Context(
        Key.parse(contents["contexts"][0]["key"]), contents["contexts"][0]["about"], b""
    )
    with Store(tmp_path / "other.db") as other:
        other.keep_note("more", 1)
    with Store(path) as store:
        store.merge(tmp_path / "other.db")
        assert dict(store.notes()) == {**contents["notes"], "more": 1}
        assert context in store.contexts()


def test_a_frame_of_version_1_is_of_the_types_that_it_was(path):
    with Store(path, mode="r") as store:
        [table, *_] = store.analyses(store.contexts()[4])
    assert all(isinstance(value, int) for value in table["paths"])
    assert pd.api.types.is_integer_dtype(table["length"])
