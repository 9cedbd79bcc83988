"""Stores from another hand, and stores that went wrong by themselves: refused, never believed."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
import zlib
from pathlib import Path

import pytest
import stores
import version_1
from stores import all_of, in_a_process, status_of

import ensembles
from ensembles.errors import EnsemblesError, StoreError
from ensembles.store import Store, examination, migration, schema, seals
from ensembles.store import version_1 as old
from ensembles.store.blobs import encode_state

unix = pytest.mark.skipif(os.name != "posix", reason="needs the signals of Unix")


@pytest.fixture(scope="module")
def filled(tmp_path_factory):
    """A store of one sweep, an analysis and a note; to be copied."""
    path = tmp_path_factory.mktemp("hostile") / "study.db"
    stores.sweep(path, predictions=True, metrics=("top1", "loss", "kl", "confusion"))
    with Store(path) as store:
        store.keep_note("name", {"any": [1, 2]})
    ensembles.paths(
        stores.decomposed(), stores.images(), store=path, images=2, signs=2, device="cpu",
        progress=False,
    )  # fmt: skip
    return path


@pytest.fixture
def path(filled, tmp_path):
    return Path(shutil.copy(filled, tmp_path / "study.db"))


def test_the_checksum_stays_what_it_is_in_every_version_of_python():
    rows = [(3, "top1", b"x"), (1, 2**40, "\u00e9\U0001f600", -1, b"\x00\xff"), ()]
    assert [seals.checksum(*row) for row in rows] == [1163522432, 4001126271, 932418520]


def test_a_flipped_bit_gives_an_error_and_no_other_result(filled, tmp_path):
    content, expected = filled.read_bytes(), all_of(filled)
    draw, refused = random.Random(0), 0
    for _ in range(120):
        place = draw.randrange(8 * len(content))
        changed = bytearray(content)
        changed[place // 8] ^= 1 << place % 8
        path = tmp_path / "flipped.db"
        path.write_bytes(changed)
        try:
            assert all_of(path) == expected, place
        except StoreError as error:
            refused += 1
            assert str(path) in str(error) and "unexpected" not in str(error)
    assert refused > 10


def resealed(raw, table, change, where="1"):
    """Change rows of a table, and give them the checksums that belong to what they then say."""
    raw.create_function("sealed", -1, seals.checksum)
    names = [row[1] for row in raw.execute(f"PRAGMA table_info({table})")][:-1]
    raw.execute(f"UPDATE {table} SET {change} WHERE {where}")
    raw.execute(f"UPDATE {table} SET checksum = sealed({', '.join(names)})")


def hexed(*numbers):
    return f"x'{encode_state(numbers).hex()}'"


def of_metric(name):
    return f"metric = '{name}' AND lesion = 2"


BOMB = zlib.compress(bytes(10**8)).hex()
OBJECTS = {
    "trigger": ("CREATE TRIGGER t AFTER INSERT ON states BEGIN DELETE FROM runs; END",
                "holds the 'trigger t'"),
    "view": ("CREATE VIEW v AS SELECT 1", "holds the 'view v'"),
    "endless view in a table's place": (
        "DROP TABLE notes; CREATE VIEW notes AS WITH RECURSIVE n(name) AS "
        "(SELECT 1 UNION ALL SELECT name + 1 FROM n) SELECT name, name value, 1 checksum FROM n",
        r"holds the 'view notes'"),
    "column": ("ALTER TABLE states ADD COLUMN more", "its table states is not as the program"),
    "generated column": ("ALTER TABLE states ADD COLUMN more AS (abs(-1))",
                         "its table states is not as the program"),
    "index": ("CREATE INDEX i ON states (total)", "holds the 'index i'"),
    "virtual table": ("CREATE VIRTUAL TABLE f USING fts5(a)", "holds the 'table f"),
    "missing table": ("DROP TABLE notes", "lacks the 'table notes'"),
    "other type": ("DROP TABLE notes; CREATE TABLE notes (name, value, checksum)",
                   "(lacks|its) .*notes"),
}  # fmt: skip
ROWS = {
    "text for a number": (("states", "total = 'many'"), "holds text in column 4"),
    "no blob": (("states", "state = 'text'"), "holds text in column 6"),
    "not its digest": (("contexts", "digest = 'ff'", "id = 1"), "digest of another key"),
    "no key": (("contexts", "key = '[1]'"), "key that cannot be read"),
    "deep key": (("contexts", f"key = '{'[' * 90000}'"), "key that cannot be read"),
    "blocks of the key": (("contexts", "key = replace(key, '[[', '[[7, ')"), "key"),
    "no classes": (("contexts", "about = replace(about, '\"num_classes\": 5', "
                    "'\"num_classes\": \"x\"')"), "'num_classes' of it is x"),
    "told nothing": (("contexts", "about = '[]'"), "lacks model"),
    "no JSON": (("runs", "provenance = '{'"), "holds no JSON"),
    "no object": (("runs", "provenance = '3'"), "holds no JSON object"),
    "no JSON in a note": (("notes", "value = 'NULL;'"), "holds no JSON"),
    "a seed below zero": (("draws", "seed = -5"), "of trial -1 and seed -5"),
    "no lesion": (("draws", "lesion = 999", "lesion = 2"), "refer to others that are not there"),
    "columns": (("analyses", "columns = '{\"a\": \"os\"}'"), "columns of a type that there is not"),
    "cells": (("analysis_rows", "cells = '[1]'"), "rows of another form than its columns"),
}  # fmt: skip
NUMBERS = {
    "more right than there are": (
        ("states", f"state = {hexed(31)}", of_metric("top1")), "'top1' of lesion 2 holds 31"),
    "less than none": (("states", f"state = {hexed(-1)}", of_metric("top1")), "holds -1"),
    "a part of an answer": (("states", f"state = {hexed(1.5)}", of_metric("top1")), "holds 1.5"),
    "not a number": (("states", f"state = {hexed(float('nan'))}", of_metric("top1")), "holds nan"),
    "other sums of classes": (
        ("states", f"state = {hexed(0)}", of_metric("top1")), "0 right answers, those of its cl"),
    "loss": (("states", f"state = {hexed(-9)}", of_metric("loss")), "'loss' of lesion 2 holds -9"),
    "too many numbers": (("states", f"state = {hexed(1, 2)}", of_metric("kl")), "holds 1 2"),
    "other observations": (("states", "total = 20, nonfinite = 0"), "counts 20 observations"),
    "not finite": (("states", "nonfinite = 99"), "has 99 observations that were not finite"),
    "a bomb": (("states", f"state = x'18{BOMB}'", of_metric("kl")), "do not unpack to at most"),
    "labels": (("contexts", f"labels = x'{BOMB}'"), "do not unpack to at most 120 bytes"),
    "predictions": (("predictions", f"classes = x'{BOMB}'"), "do not unpack to at most 30 bytes"),
    "confusion": (
        ("states", f"state = {hexed(*[9] * 25)}", of_metric("confusion")), "'confusion' of lesion"),
    "a block that there is not": (("lesions", "text = '99'", "text = '2'"), "of other blocks"),
    "a lesion that there is not": (("lesions", "text = 'x y'", "text = '2'"), "delete 'x y' is no"),
    "a lesion without end": (
        ("lesions", "kind = 'repeat', text = '4 x999999999'", "text = '2'"), "at most 10000"),
    "a span without end": (
        ("lesions", "kind = 'reverse', text = '1-999999999'", "text = '2'"), "at most 1000000"),
}  # fmt: skip


UNREAD = ("a lesion that there is not", "a lesion without end", "a span without end")
"""What a table leaves out with a warning, as lesions of packages that are not installed."""


def refuses(path, message, tmp_path):
    """Everything that reads a store refuses this one in a line, and a merge leaves the other."""
    with pytest.raises(StoreError, match=message) as caught:
        all_of(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)
    with pytest.raises(StoreError, match=message), Store(path, mode="r") as store:
        store.check()
    with Store(tmp_path / "all.db") as store:
        with pytest.raises(StoreError, match=message):
            store.merge(path)
        assert store.contexts() == [] and list(store.notes()) == []


@pytest.mark.parametrize("what", OBJECTS)
def test_other_objects_than_the_program_makes_are_refused(what, path, tmp_path):
    sql, message = OBJECTS[what]
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as raw:
        try:
            raw.executescript(sql)
        except sqlite3.OperationalError as error:
            pytest.skip(f"this SQLite makes none: {error}")
    refuses(path, message, tmp_path)
    with pytest.raises(StoreError, match=message):
        Store(path)


@pytest.mark.parametrize("size", ["small", "large"])
@pytest.mark.parametrize("what", ROWS | NUMBERS)
def test_rows_that_cannot_be_are_refused(what, size, path, tmp_path, monkeypatch):
    change, message = (ROWS | NUMBERS)[what]
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as raw:
        resealed(raw, *change)
    if size == "large":
        if what in ("no lesion", "a seed below zero"):
            message = "."
        monkeypatch.setattr(examination, "_WHOLE", 0)
        monkeypatch.setattr(examination, "_STRUCTURE", 0)
        if what in (*UNREAD, "no lesion", "a seed below zero"):
            with pytest.raises(StoreError), Store(path, mode="r") as store:
                store.check()
            return
    if what in UNREAD:
        with pytest.raises(StoreError, match=message), Store(path, mode="r") as store:
            store.check()
        return
    refuses(path, message, tmp_path)


@pytest.mark.parametrize("size", ["small", "large"])
@pytest.mark.parametrize(
    ("table", "change"),
    [("lesions", "text = '3'"), ("states", "state = x'0101'"), ("contexts", "about = '{}'"),
     ("notes", "value = '1'"), ("analysis_rows", "cells = '[]'"), ("runs", "provenance = '{}'"),
     ("predictions", "classes = x'00'"), ("draws", "seed = 7")],
)  # fmt: skip
def test_a_row_that_was_changed_by_hand_is_not_believed(table, change, size, path, monkeypatch):
    if size == "large":
        monkeypatch.setattr(examination, "_WHOLE", 0)
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as raw:
        [last] = raw.execute(f"SELECT count(*) FROM {table}").fetchone()
        where = "1" if last == 1 else "lesion = 4" if table in ("states", "draws") else "1"
        if table in ("lesions", "predictions"):
            where = f"{'id' if table == 'lesions' else 'lesion'} = 4"
        raw.execute(f"UPDATE OR REPLACE {table} SET {change} WHERE {where}")
    message = "is not what its checksum says|refer to others|is damaged"
    with pytest.raises(StoreError, match=message):
        all_of(path)


def test_a_text_that_is_no_utf_8_is_refused(path):
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as raw:
        raw.execute("UPDATE lesions SET text = CAST(x'ff' AS TEXT) WHERE id = 3")
    with pytest.raises(StoreError, match="no UTF-8"):
        all_of(path)


MAIN = "from ensembles.cli import main; main()"


def run_check(*paths):
    done = subprocess.run(
        [sys.executable, "-c", MAIN, "store", "check", *map(str, paths)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    return done.returncode, done.stdout, done.stderr


def test_store_check_says_what_there_is_or_what_is_wrong(filled, path):
    code, out, err = run_check(filled, version_1.STORE)
    assert (code, err) == (0, "") and out.count("sound") == 2
    assert "2 networks on data, 9 lesions" in out
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as raw:
        resealed(raw, "states", f"state = {hexed(31)}", of_metric("top1"))
    code, out, err = run_check(path)
    assert code == 1 and err.count("\n") == 1 and "holds 31, which cannot be counted" in err


# Version 2


@pytest.fixture
def second(tmp_path):
    """A store of version 2, with all that version 1 kept."""
    folder = tmp_path / "second"
    folder.mkdir()
    path = Path(shutil.copy(version_1.STORE, folder / "study.db"))
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as raw:
        raw.execute("PRAGMA foreign_keys = OFF")
        raw.execute("BEGIN")
        old.rewrite(raw)
        raw.execute("PRAGMA user_version = 2")
        raw.execute("COMMIT")
    return path


def test_a_store_of_version_2_is_brought_up_to_date(second):
    before = second.read_bytes()
    expected = all_of(version_1.STORE)
    assert all_of(second) == expected
    assert second.read_bytes() == before
    with Store(second) as store:
        assert store.check()["states"] == 134
    assert all_of(second) == expected
    with contextlib.closing(sqlite3.connect(second)) as raw:
        assert raw.execute("PRAGMA user_version").fetchone() == (schema.VERSION,)
    assert stores.files(second.parent) == ["study.db"]


@unix
@pytest.mark.parametrize("step", ["_keep_copy", "bring_up_to_date", "_check_references"])
def test_a_store_of_version_2_is_the_old_or_the_new_one_after_a_kill(second, step):
    expected = all_of(second)

    def work():
        real = getattr(migration, step)

        def ending(*arguments):
            real(*arguments)
            os.kill(os.getpid(), signal.SIGKILL)

        setattr(migration, step, ending)
        Store(second).close()

    assert status_of(in_a_process(work)) == -signal.SIGKILL
    assert migration.copy_beside(second, 2).exists()
    assert all_of(second) == expected
    Store(second).close()
    assert all_of(second) == expected
    assert stores.files(second.parent) == ["study.db"]


def test_what_a_store_of_version_2_says_is_not_believed_either(second):
    with contextlib.closing(sqlite3.connect(second, isolation_level=None)) as raw:
        raw.execute("CREATE TRIGGER t AFTER INSERT ON notes BEGIN DELETE FROM runs; END")
    before = second.read_bytes()
    for mode in ("a", "r"):
        with pytest.raises(StoreError, match="holds the 'trigger t'"):
            Store(second, mode=mode)
    assert second.read_bytes() == before


# A store that others change


def test_a_writer_does_not_go_on_in_a_store_that_was_deleted(path):
    with Store(path) as store:
        store.keep_note("before", 1)
        path.unlink()
        with pytest.raises(StoreError, match="was deleted while it was in use"):
            store.keep_note("after", 1)
        shutil.copy(version_1.STORE, path)
        with pytest.raises(StoreError, match="was replaced by another file while it was in use"):
            store.keep_note("after", 1)
    assert not isinstance(EnsemblesError("x"), StoreError)


def test_a_claim_of_a_clock_that_is_far_ahead_ends_when_nobody_renews_it(path, monkeypatch):
    from ensembles.lesions import Delete
    from ensembles.store import claims

    monkeypatch.setattr(claims, "LEASE", 0.3)
    with Store(path) as store:
        [context, *_] = store.contexts()
        asked = store.ask(context, [Delete((1, 5))])
        with store.connection.transaction() as raw:
            [row] = asked._rows.values()
            claim = (row, "elsewhere/1/2 7 12345 abcd", time.time() + 1e9)
            raw.execute("INSERT INTO claims VALUES (?, ?, ?)", claim)
        assert asked.claim(asked.missing).taken
        time.sleep(0.1)
        assert asked.claim(asked.missing).taken
        with store.connection.transaction() as raw:  # it is renewed
            raw.execute("UPDATE claims SET expires = expires + 1")
        time.sleep(0.25)
        assert asked.claim(asked.missing).taken
        time.sleep(0.35)
        assert asked.claim(asked.missing).mine


def test_where_processes_die_units_begin_with_one_lesion(path):
    from ensembles.lesions import Delete
    from ensembles.store import claims
    from ensembles.store.filler import Pace

    calm, rough = Pace(), Pace(rough=True)
    sizes = []
    for _ in range(6):
        sizes.append(rough.size())
        rough.times = [*rough.times[-1:], (sizes[-1], 0.001 * sizes[-1])]
    assert calm.size() == 8 and sizes == [1, 2, 4, 8, 16, 32]
    with Store(path) as store:
        [context, *_] = store.contexts()
        asked = store.ask(context, [Delete((1, 5))])
        assert asked.deserted == 0 and asked.claim(asked.missing).mine
        assert asked.deserted == 0
        space, _, _, token = asked._owner.split(" ")
        with store.connection.transaction() as raw:
            raw.execute("UPDATE claims SET owner = ?", (f"{space} 999999999 1 {token}x",))
        assert asked.deserted == 1 and asked.claim(asked.missing).mine
        assert claims.deserted(store.connection, 1) == 0


@unix
@pytest.mark.parametrize("mode", ["a", "r"])
@pytest.mark.parametrize("name", ["loop", "loop/x.db", "a\0b", "\ud800"])
def test_a_name_that_leads_to_no_file_is_refused(name, mode, tmp_path):
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    with pytest.raises(StoreError, match=r"links go in a circle|no file has such a name"):
        Store(tmp_path / name, mode=mode)
