"""What happens to a store when memory, the disk, the process or the file system fails."""

from __future__ import annotations

import contextlib
import errno
import os
import resource
import shutil
import signal
import sqlite3
import tempfile
import time
from pathlib import Path

import pandas as pd
import pytest
import stores
import torch
from stores import (
    command_line,
    decomposed,
    files,
    fill,
    in_a_process,
    lesions,
    status_of,
    sweep,
    table,
)

from ensembles.analyses.lesion_sweep import LesionSweep
from ensembles.cli.signals import interruptible
from ensembles.engine.direct import Direct
from ensembles.errors import LesionError, OutOfMemoryError, StoreError
from ensembles.lesions import Delete, Lesion, Scale, intact
from ensembles.store import Store, claims, connection, disk_room, schema, sqlite
from ensembles.store.lesions import FEW

unix = pytest.mark.skipif(os.name != "posix", reason="needs the signals and limits of Unix")


@pytest.fixture
def path(tmp_path):
    folder = tmp_path / "stores"
    folder.mkdir()
    return folder / "study.db"


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The table of a sweep that nothing disturbed."""
    path = tmp_path_factory.mktemp("whole") / "study.db"
    sweep(path, predictions=True)
    return table(path)


# Memory


class Failing(Direct):
    """An engine that runs out of memory at its k-th lesion, once; or at one lesion, always."""

    left = -1
    always: Lesion | None = None

    def run(self, inputs):
        unlucky = Failing.always and Failing.always.program(len(self.net))
        for number, logits in super().run(inputs):
            Failing.left -= 1
            if Failing.left == -1 or self.programs[number] == unlucky:
                raise torch.OutOfMemoryError("CUDA out of memory (injected)")
            yield number, logits


@pytest.fixture
def failing(monkeypatch):
    monkeypatch.setattr("ensembles.engine.evaluation.Direct", Failing)
    monkeypatch.setattr(Failing, "left", -1)
    monkeypatch.setattr(Failing, "always", None)
    return Failing


def test_memory_running_out_at_any_call_changes_no_count(path, failing, whole):
    net, data = decomposed(), stores.images()
    for call in range(2 * len(whole)):
        failing.left = call
        place = path.with_name(f"{call}.db")
        sweep(place, net=net, data=data, batch_size=16)
        found = table(place)
        pd.testing.assert_frame_equal(found, whole, check_exact=False, rtol=1e-6)
        assert found["correct"].tolist() == whole["correct"].tolist()
        if failing.left >= 0:
            break
    assert call > len(whole)


def test_a_lesion_that_memory_does_not_suffice_for_fails_alone(path, failing, whole, capsys):
    failing.always = Lesion("delete", (2,))
    frame = sweep(path)
    [failed] = frame.attrs["failed"]
    assert (failed["lesion"], failed["blocks"]) == ("delete", "2")
    assert failed["reason"].startswith("memory ran out on cpu for a single image")
    kept = whole[(whole["lesion"] == "none") | (whole["blocks"] != "2")].reset_index(drop=True)
    pd.testing.assert_frame_equal(table(path), kept, check_exact=False, rtol=1e-6)
    with Store(path) as store:
        [context] = store.contexts()
        assert list(store.failures(context)) == [failing.always]
        assert [store.summary()[0][name] for name in ("failed", "claimed")] == [1, 0]
    failing.always = None
    again = sweep(path)
    assert again.attrs["store"]["measured"] == 1 and "failed" not in again.attrs
    with Store(path) as store:
        assert store.failures(context) == {} and store.summary()[0]["failed"] == 0
    pd.testing.assert_frame_equal(table(path), whole)


def test_a_lesion_fails_alone_without_a_store_too(failing):
    failing.always = Lesion("delete", (2,))
    frame = sweep(None)
    assert [one["blocks"] for one in frame.attrs["failed"]] == ["2"]
    assert len(frame) == len(lesions()) - 1


def test_the_command_line_says_which_lesions_failed(path, tmp_path):
    def work():
        Failing.always = Lesion("delete", (2,))
        from ensembles.engine import evaluation

        evaluation.Direct = Failing
        command_line(path)

    errors = tmp_path / "errors"
    assert status_of(in_a_process(work, errors)) == 1
    last = errors.read_text().splitlines()[-1]
    assert last.startswith("ensembles: 1 lesions could not be measured, the first of them delete 2")


def test_memory_that_does_not_suffice_for_the_intact_network_ends_the_sweep(path, failing):
    failing.always = intact()
    with pytest.raises(OutOfMemoryError, match="memory ran out on cpu for a single image"):
        sweep(path, [intact()])
    with Store(path) as store:
        assert store.summary()[0]["claimed"] == 0


# Processes


def killed_at_statement(path, number):
    """Open a store in a process that is killed before it runs its so-manieth statement."""

    def work():
        real, left = connection.connect, [number]

        def count(_statement):
            left[0] -= 1
            if left[0] == 0:
                os.kill(os.getpid(), signal.SIGKILL)

        def connect(*arguments):
            raw = real(*arguments)
            raw.set_trace_callback(count)
            return raw

        connection.connect = connect
        Store(path).close()

    return status_of(in_a_process(work)) == -signal.SIGKILL


def test_a_store_that_another_process_makes_meanwhile_is_not_taken_for_a_foreign_file(path):
    class Interrupted:
        """A connection beside which the store is made after the first look."""

        def __init__(self, raw):
            self.raw, self.looks = raw, 0

        def __getattr__(self, name):
            return getattr(self.raw, name)

        def execute(self, sql):
            self.looks += sql.startswith("PRAGMA")
            if self.looks == 2:
                other = sqlite3.connect(path, isolation_level=None, timeout=0.05)
                with contextlib.suppress(sqlite3.OperationalError):
                    connection._make(other, path)
                other.close()
            return self.raw.execute(sql)

    raw = connection.connect(path, "mode=rwc")
    assert schema.stored_version(Interrupted(raw), path) in (None, schema.VERSION)
    assert not raw.in_transaction
    raw.close()


@unix
def test_a_store_that_is_killed_at_any_statement_of_its_making_is_made_by_the_next(path):
    number = 1
    while killed_at_statement(path, number):
        with Store(path) as store:
            assert store.summary() == []
            store.keep_note("a", number)
        with Store(path, mode="r") as store:
            assert store.note("a") == number
        assert files(path.parent) == ["study.db"]
        path.unlink()
        number += 1
    assert number > 15


@unix
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["SIGINT", "SIGTERM"])
def test_an_interrupted_sweep_keeps_its_units_and_exits_with_130(number, path, tmp_path, whole):
    def work():
        from ensembles.analyses import lesion_sweep as module

        real, kept = module.evaluate_each, []

        def slowly(*args, **options):
            found = real(*args, **options)
            if len(kept) >= 3:  # enough is in the store: wait for the signal
                time.sleep(60)
            kept.extend(found[0])
            return found

        module.evaluate_each = slowly
        command_line(path)

    errors = tmp_path / "errors"
    child = in_a_process(work, errors)
    until = time.monotonic() + 60
    while time.monotonic() < until and held(path) < 3:
        time.sleep(0.02)
    os.kill(child, number)
    assert status_of(child) == 130
    assert errors.read_text().splitlines()[-1] == (
        "ensembles: interrupted; what was measured is in the store, and the same command goes on"
    )
    assert files(path.parent) == ["study.db"]
    with Store(path) as store:
        [entry] = store.summary()
        assert 3 <= entry["measured"] < entry["asked"] and entry["claimed"] == 0
    sweep(path, predictions=True)
    pd.testing.assert_frame_equal(table(path), whole)


def held(path):
    with contextlib.suppress(StoreError), Store(path, mode="r") as store:
        return sum(entry["measured"] for entry in store.summary())
    return 0


def claimed_by_a_process(path, *, ended):
    """Claim a lesion in another process, which then ends or waits."""
    sweep(path, [intact()])
    ours, theirs = os.pipe()

    def work():
        store = Store(path)
        [context] = store.contexts()
        assert store.ask(context, [Lesion("delete", (1,))]).claim([Lesion("delete", (1,))]).mine
        os.write(theirs, b".")
        if not ended:
            time.sleep(60)

    child = in_a_process(work)
    os.read(ours, 1)
    if ended:
        assert status_of(child) == 0
    return child


@unix
@pytest.mark.parametrize("ended", [True, False])
def test_claims_end_with_their_process_or_when_they_run_out(ended, path, monkeypatch):
    child = claimed_by_a_process(path, ended=ended)
    with Store(path) as store:
        [context] = store.contexts()
        wanted = [Lesion("delete", (1,))]
        asked = store.ask(context, wanted)
        assert store.summary()[0]["claimed"] == (0 if ended else 1)
        found = asked.claim(wanted)
        assert (found.mine, found.taken) == ((tuple(wanted), ()) if ended else ((), tuple(wanted)))
        now = time.time() + claims.LEASE + 1
        monkeypatch.setattr("ensembles.store.claims.time.time", lambda: now)
        assert asked.claim(wanted).mine == tuple(wanted)
        asked.release()
        assert store.summary()[0]["claimed"] == 0
    if not ended:
        os.kill(child, signal.SIGKILL)
        assert status_of(child) == -signal.SIGKILL


def test_claims_are_renewed_while_they_are_held(path, monkeypatch):
    monkeypatch.setattr("ensembles.store.claims.LEASE", 0.2)
    sweep(path, [intact()])
    with Store(path) as store:
        [context] = store.contexts()
        asked = store.ask(context, [Lesion("delete", (1,))])
        asked.claim([Lesion("delete", (1,))])
        sql = "SELECT expires FROM claims"
        before = store.connection.rows(sql)[0][0]
        with asked.holding():
            until = time.monotonic() + 10
            while store.connection.rows(sql)[0][0] == before and time.monotonic() < until:
                time.sleep(0.02)
        assert store.connection.rows(sql)[0][0] != before


# The disk


def half_a_sweep(path):
    sweep(path, lesions()[:3], predictions=True)
    return table(path)


def refused(path, errors, work, message):
    """The command line fails in a line that names the store, and leaves it as it was."""
    assert status_of(in_a_process(work, errors)) == 1
    [*_, last] = errors.read_text().splitlines()
    assert last.startswith(f"ensembles: store {path}: ") and message in last, last
    assert "what it held before is intact" in last


@pytest.mark.parametrize("checked", [True, False], ids=["asked before", "found while writing"])
def test_a_full_disk_costs_nothing_that_was_there(checked, small_disk, tmp_path, whole):
    path, errors = small_disk / "study.db", tmp_path / "errors"
    before = half_a_sweep(path)
    ballast = fill(small_disk)
    if not checked:
        os.truncate(ballast, ballast.stat().st_size - 48 * 1024)

    def work():
        if not checked:
            connection.check_room = lambda *_: None
        command_line(path)

    refused(path, errors, work, "the disk is full")
    assert files(small_disk) == ["ballast", "study.db"]
    pd.testing.assert_frame_equal(table(path), before)
    ballast.unlink()
    sweep(path, predictions=True)
    pd.testing.assert_frame_equal(table(path), whole)


def test_reading_on_a_full_disk_leaves_nothing(small_disk):
    path = small_disk / "study.db"
    before = half_a_sweep(path)
    fill(small_disk)
    pd.testing.assert_frame_equal(table(path), before)
    assert files(small_disk) == ["ballast", "study.db"]


def test_no_store_is_begun_on_a_full_disk(small_disk, tmp_path):
    ballast = fill(small_disk)
    path, errors = small_disk / "study.db", tmp_path / "errors"
    assert status_of(in_a_process(lambda: command_line(path), errors)) == 1
    assert f"ensembles: store {path}: cannot be written (the disk is full)" in errors.read_text()
    assert files(small_disk) == [ballast.name]


@unix
@pytest.mark.parametrize("checked", [True, False], ids=["asked before", "found while writing"])
def test_a_limit_on_the_size_of_files_costs_nothing_that_was_there(checked, path, tmp_path, whole):
    before = half_a_sweep(path)

    def work():
        if not checked:
            connection.check_room = lambda *_: None
        limit = path.stat().st_size - (0 if checked else 8192)
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
        command_line(path)

    message = "the file-size limit is reached" if checked else "the disk or a limit is full"
    child = in_a_process(work, tmp_path / "errors")
    status = status_of(child)
    text = (tmp_path / "errors").read_text()
    assert status == 1 and message in text and str(path) in text, text
    found = table(path)
    assert len(found) == len(before) if checked else len(before) < len(found) < len(whole)
    pd.testing.assert_frame_equal(found.merge(before), before, check_dtype=False)
    assert files(path.parent) == ["study.db"]
    sweep(path, predictions=True)
    pd.testing.assert_frame_equal(table(path), whole)


@unix
def test_a_folder_that_is_read_only_is_refused_and_read(tmp_path):
    path = Path(tempfile.mkdtemp()) / "study.db"  # not below a folder of root's alone
    before = half_a_sweep(path)
    path.chmod(0o444)
    path.parent.chmod(0o555)

    def as_nobody(work):
        def lowered():
            with contextlib.suppress(SystemExit):  # everything is imported, as root may
                command_line(tmp_path / f"{os.getpid()}.db")
            if os.getuid() == 0:
                os.setgid(65534)
                os.setuid(65534)
            work()

        return lowered

    def read():
        pd.testing.assert_frame_equal(table(path), before)

    errors = tmp_path / "errors"
    try:
        refused(path, errors, as_nobody(lambda: command_line(path)), "cannot be written")
        assert status_of(in_a_process(as_nobody(read), errors)) == 0, errors.read_text()
        new = path.with_name("new.db")
        assert status_of(in_a_process(as_nobody(lambda: command_line(new)), errors)) == 1
        assert f"store {new}: cannot be opened" in errors.read_text()
        assert files(path.parent) == ["study.db"]
    finally:
        path.parent.chmod(0o755)
        shutil.rmtree(path.parent)


# File systems


def test_without_shared_memory_a_store_keeps_a_rollback_journal(path, monkeypatch, whole):
    monkeypatch.setattr(connection, "is_network_folder", lambda _: True)
    sweep(path, predictions=True)
    pd.testing.assert_frame_equal(table(path), whole)
    with Store(path) as store:
        assert store.connection.rows("PRAGMA journal_mode") == [("delete",)]
    monkeypatch.undo()
    with Store(path) as store:
        assert store.connection.rows("PRAGMA journal_mode") == [("wal",)]
        assert store.connection.rows("PRAGMA synchronous") == [(2,)]


@unix
def test_where_sqlite_has_no_log_a_rollback_journal_does(path, monkeypatch, whole):
    real = connection.connect
    monkeypatch.setattr(
        connection, "connect", lambda path, options: real(path, f"{options}&vfs=unix-dotfile")
    )
    sweep(path, predictions=True)
    pd.testing.assert_frame_equal(table(path), whole)
    assert files(path.parent) == ["study.db"]


@unix
def test_a_file_system_without_locks_is_said_at_once(path, monkeypatch):
    import fcntl

    def none(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "lockf", none)
    with pytest.raises(StoreError, match=r"study\.db: its file system has no file locks; put the"):
        Store(path)
    assert files(path.parent) == []


def test_network_file_systems_are_known_by_their_mounts(monkeypatch):
    mounts = "tmpfs / tmpfs rw 0 0\nhost:/x /data nfs4 rw 0 0\nd /data/local\\040disk ext4 rw 0 0\n"
    monkeypatch.setattr(Path, "read_text", lambda *_, **__: mounts)
    assert disk_room.is_network_folder(Path("/data/study"))
    assert not disk_room.is_network_folder(Path("/data/local disk/study"))
    assert not disk_room.is_network_folder(Path("/home"))


def test_a_store_that_another_process_does_not_let_go_is_named(path, monkeypatch):
    monkeypatch.setattr(sqlite, "PATIENCE", 0.1)
    monkeypatch.setattr(sqlite, "_BUSY", 0.1)
    with (
        Store(path) as one,
        Store(path) as two,
        one.connection.transaction(),
        pytest.raises(StoreError, match=r"another process has held it for 0 s"),
    ):
        two.keep_note("a", 1)


def test_a_large_sweep_stores_some_before_it_looks_at_all(path, monkeypatch):
    """A process that lives for less than that moment gets somewhere: each start adds some."""
    many, asked = [Scale((1,), number / 64) for number in range(1, 300)], LesionSweep._asked

    def short_life(self, *arguments):
        if len(self.wanted) > FEW:
            raise KeyboardInterrupt
        return asked(self, *arguments)

    counts = []
    with monkeypatch.context() as short:
        short.setattr(LesionSweep, "_asked", short_life)
        for _ in range(2):
            with pytest.raises(KeyboardInterrupt):
                sweep(path, many, data=stores.images(2), metrics="top1")
            with Store(path, mode="r") as store:
                counts.append(len(store.outcomes(store.contexts()[0])))
    assert 0 < counts[0] < counts[1] <= len(many) + 1
    frame = sweep(path, many, data=stores.images(2), metrics="top1")
    assert len(frame) == len(many) + 1 and frame.attrs["store"]["known"] == counts[1]


def test_of_a_large_sweep_too_nothing_runs_where_a_lesion_does_not_fit(path, monkeypatch):
    many = [Scale((1,), number / 64) for number in range(1, 300)]
    for _ in range(2):
        with pytest.raises(LesionError, match="block 99"):
            sweep(path, [*many, Scale((99,), 0.5)], data=stores.images(2))
        with Store(path, mode="r") as store:
            assert not store.contexts() or not store.outcomes(store.contexts()[0])
    checks = []
    monkeypatch.setattr(LesionSweep, "check", lambda sweep: checks.append(len(sweep.wanted)))
    for _ in range(2):
        sweep(path, many, data=stores.images(2), metrics="top1")
    assert checks == [len(many) + 1]  # the second time it is known


WAITS = {
    "another process holds the store": (
        "BEGIN IMMEDIATE", lambda path: sweep(path, [Delete((5,))])),
    "another process opens it first": ("BEGIN EXCLUSIVE", lambda path: Store(path).check()),
    "a lesion is being measured": (
        "INSERT INTO claims SELECT id, 'elsewhere/1/2 7 12345 abcd', 9e9 FROM lesions",
        lambda path: sweep(path, [Delete((1,))], metrics=("top1", "kl"))),
}  # fmt: skip


@unix
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("what", WAITS)
def test_every_wait_ends_when_it_is_asked_to(what, number, path):
    statement, work = WAITS[what]
    sweep(path, [Delete((1,))])

    def waiting():
        signal.signal(signal.SIGINT, signal.default_int_handler)
        with interruptible():
            try:
                work(path)
            except KeyboardInterrupt:
                os._exit(7)

    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
        if "EXCLUSIVE" in statement:
            other.execute("PRAGMA journal_mode = DELETE")
        other.execute(statement)
        child = in_a_process(waiting)
        time.sleep(0.3)
        os.kill(child, number)
        began = time.monotonic()
        assert status_of(child) == 7
    assert time.monotonic() - began < 5
    with Store(path) as store:
        assert len(store.outcomes(store.contexts()[0])) == 2
