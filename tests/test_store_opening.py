"""Stores of an older version that are opened while others write, or told to end meanwhile."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import sqlite3
import sys
import time
from pathlib import Path

import pytest
import version_1
from stores import all_of, files, in_a_process, status_of

from ensembles.cli.signals import interruptible
from ensembles.errors import StoreError
from ensembles.store import Store, migration, sqlite

unix = pytest.mark.skipif(os.name != "posix", reason="needs the signals of Unix")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A store of version 1."""
    (tmp_path / "stores").mkdir()
    return Path(shutil.copy(version_1.STORE, tmp_path / "stores" / "study.db"))


@pytest.fixture(scope="module")
def told() -> str:
    """All that it tells."""
    return all_of(version_1.STORE)


@unix
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("mode", ["a", "r"])
def test_a_copy_ends_when_it_is_asked_to(path: Path, told: str, mode: str, number: int) -> None:
    copied = path.parent.parent / "copied"

    class Slowly(tuple):
        """What SQLite says of each page, looked at slowly."""

        def __contains__(self, status: object) -> bool:
            with copied.open("a") as file:
                file.write(".")
            time.sleep(0.1)
            return super().__contains__(status)

    def work() -> None:
        sqlite._AT_ONCE, sqlite._HELD = 1, Slowly(sqlite._HELD)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        with interruptible():
            try:
                Store(path, mode=mode)
            except KeyboardInterrupt:
                sys.exit(7)

    child = in_a_process(work)
    end = time.monotonic() + 20
    while not (copied.exists() and copied.stat().st_size > 3) and time.monotonic() < end:
        time.sleep(0.01)
    os.kill(child, number)
    began = time.monotonic()
    assert status_of(child) == 7
    assert time.monotonic() - began < 5
    assert files(path.parent) == ["study.db"]
    assert path.read_bytes() == version_1.STORE.read_bytes()
    Store(path).close()
    assert all_of(path) == told and files(path.parent) == ["study.db"]


def test_one_that_is_brought_up_to_date_while_it_is_opened_is_read(
    path: Path, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = migration.copy_all

    def later(*arguments: sqlite3.Connection) -> None:
        monkeypatch.setattr(migration, "copy_all", real)
        Store(path).close()
        real(*arguments)

    monkeypatch.setattr(migration, "copy_all", later)
    assert all_of(path) == told
    assert migration.copy_all is real
    assert all_of(path) == told and files(path.parent) == ["study.db"]


@pytest.mark.parametrize("version", [1, 3])
def test_none_is_read_while_another_process_writes_in_it(
    path: Path, version: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    if version > 1:
        Store(path).close()
    monkeypatch.setattr(sqlite, "PATIENCE", 0.1)
    monkeypatch.setattr(sqlite, "_BUSY", 0.1)
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("PRAGMA journal_mode = DELETE")
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(StoreError, match="another process has held it for 0 s"):
            Store(path, mode="r")
