"""One connection to a store's file: opened, shared with other processes, and its refusals said."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

from ensembles.errors import StoreError
from ensembles.store.disk_room import check_room, has_locks, is_network_folder
from ensembles.store.schema import VERSION, make_tables, stored_version

__all__ = ["Connection"]

PATIENCE = 120.0
"""Seconds to wait for another process before giving up."""

_BUSY = 1.0
_LOCKLESS = "its file system has no file locks; put the store on a local disk"
_PROTECTED = (
    "cannot be opened (the folder or the file is protected); name another file, or change the "
    "permissions"
)
_PAUSE = 0.02
_CHECKPOINT_PAGES = 64
_T = TypeVar("_T")


class Connection:
    """A connection to a store.

    Changes are made in transactions, which other processes see whole or not at all, and which are
    on the disk once they have ended. The write-ahead log is emptied into the file as it grows.

    Args:
        path: The file.
        write: Whether to make the store where there is none, and to change it; else it is read.

    Raises:
        StoreError: If the file is no store, is of a version that this program does not read, or
            cannot be opened.
    """

    def __init__(self, path: Path, *, write: bool) -> None:
        self.path, self._write = path, write
        with translated(path):
            _check_place(path, write)
            if write:
                check_room(path, 0)
                if not has_locks(path.resolve().parent):
                    raise StoreError(f"store {path}: {_LOCKLESS}")
            self._raw = _opened_to_write(path) if write else _opened_to_read(path)

    def close(self) -> None:
        """Close; the last process to do so leaves nothing but the file."""
        with suppress(sqlite3.Error):
            self._raw.close()

    def rows(self, sql: str, arguments: Any = ()) -> list[Any]:
        """All rows of a query, as of one moment."""
        with translated(self.path):
            return patiently(lambda: self._raw.execute(sql, arguments).fetchall())

    @contextmanager
    def transaction(self, size: int = 0) -> Iterator[sqlite3.Connection]:
        """Change the store: all of it, or nothing.

        Args:
            size: About how many bytes will be written.

        Raises:
            StoreError: If the store is only read, the disk is full, or another process does not
                let go of the store.
        """
        if not self._write:
            raise StoreError(f"store {self.path}: was opened for reading")
        check_room(self.path, size)
        raw = self._raw
        with translated(self.path):
            patiently(lambda: raw.execute("BEGIN IMMEDIATE"))
            try:
                yield raw
                patiently(lambda: raw.execute("COMMIT"))
            finally:
                if raw.in_transaction:
                    raw.execute("ROLLBACK")


def _check_place(path: Path, write: bool) -> None:
    if path.is_dir():
        raise StoreError(f"store {path}: is a folder; name a file in it")
    if path.exists() and not path.is_file():
        raise StoreError(f"store {path}: is no plain file; name one")
    if not write and not path.exists():
        raise StoreError(f"store {path}: there is no such file")
    if not path.parent.is_dir():
        raise StoreError(f"store {path}: there is no folder {path.parent}; make it first")


def connect(path: Path, options: str) -> sqlite3.Connection:
    """Open a file through its address, with SQLite's options; never wait long inside SQLite."""
    address = f"file:{quote(str(path.resolve()))}?{options}"
    return sqlite3.connect(address, uri=True, isolation_level=None, timeout=_BUSY)


def _opened_to_write(path: Path) -> sqlite3.Connection:
    raw = connect(path, "mode=rwc")
    try:
        raw.execute("PRAGMA synchronous = FULL")
        raw.execute("PRAGMA foreign_keys = ON")
        raw.execute("PRAGMA temp_store = MEMORY")
        raw.execute(f"PRAGMA wal_autocheckpoint = {_CHECKPOINT_PAGES}")
        if patiently(lambda: stored_version(raw, path)) != VERSION:
            patiently(lambda: _make(raw, path))
        patiently(lambda: _choose_journal(raw, path))
    except BaseException:
        raw.close()
        raise
    return raw


def _make(raw: sqlite3.Connection, path: Path) -> None:
    raw.execute("BEGIN IMMEDIATE")
    try:
        make_tables(raw, path)
        raw.execute("COMMIT")
    finally:
        if raw.in_transaction:
            raw.execute("ROLLBACK")


def _choose_journal(raw: sqlite3.Connection, path: Path) -> None:
    """A write-ahead log where memory can be shared; else a rollback journal, as safe but slower."""
    wanted = "delete" if is_network_folder(path.resolve().parent) else "wal"
    [found] = raw.execute("PRAGMA journal_mode").fetchone()
    if found != wanted:
        raw.execute(f"PRAGMA journal_mode = {wanted}").fetchone()


def _opened_to_read(path: Path) -> sqlite3.Connection:
    """The first way that works; an older store is brought up to date first."""
    for way in (ways := _ways_to_read(path)):
        raw = connect(path, way)
        try:
            raw.execute("PRAGMA query_only = ON")
            version = patiently(lambda raw=raw: stored_version(raw, path))  # type: ignore[misc]
            if version is None:
                raise StoreError(f"store {path}: is empty, nothing has been stored in it")
            if version != VERSION:
                raw.close()
                _opened_to_write(path).close()
                return _opened_to_read(path)
            return raw
        except sqlite3.OperationalError:
            raw.close()
            if way == ways[-1]:
                raise
        except BaseException:
            raw.close()
            raise
    raise AssertionError("the last way raises")


def _ways_to_read(path: Path) -> list[str]:
    """As any process, on a read-only disk, on a protected or full one.

    Where nobody has the store open and there is no room for the files of those who have, only the
    last way leaves nothing behind.
    """
    log = path.with_name(path.name + "-wal")
    if log.exists() and log.stat().st_size:
        return ["mode=rw", "mode=ro"]
    alone = "mode=ro&immutable=1"
    try:
        check_room(path, 0)
    except StoreError:
        return ["mode=rw", "mode=ro", alone] if log.exists() else [alone]
    return ["mode=rw", "mode=ro", alone]


def patiently(work: Callable[[], _T]) -> _T:
    """Do something that another process may be in the way of, again until it is not."""
    deadline = time.monotonic() + PATIENCE
    pause = _PAUSE
    while True:
        try:
            return work()
        except sqlite3.OperationalError as error:
            if not _is_busy(error) or time.monotonic() > deadline:
                raise
        time.sleep(pause * (0.5 + os.urandom(1)[0] / 255))
        pause = min(2 * pause, 0.5)


def _is_busy(error: sqlite3.Error) -> bool:
    return any(
        sign in str(error) for sign in ("is locked", "locking protocol", "schema has changed")
    )


@contextmanager
def translated(path: Path) -> Iterator[None]:
    """Turn SQLite's errors into one line.

    Raises:
        StoreError: In place of them.
    """
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        raise StoreError(f"store {path}: {_reason(error)}") from error


def _reason(error: Exception) -> str:
    text = " ".join(str(error).split())
    kept = "what it held before is intact"
    known = {
        "not a database": "is no store of results (no SQLite file); name another file",
        "malformed": f"is damaged ({text}); go on from a copy, or name another file",
        "is full": f"cannot be written (the disk is full); free space, {kept}",
        "readonly": f"cannot be written (file or folder is read-only); name another file, {kept}",
        "read-only": f"cannot be written (file or folder is read-only); name another file, {kept}",
        "Permission denied": _PROTECTED,
        "unable to open": _PROTECTED,
        "is locked": f"another process has held it for {PATIENCE:.0f} s, or its file system has no "
        "locks; end that process, or put the store on a local disk",
        "locking protocol": _LOCKLESS,
        "disk I/O error": "cannot be read or written (input/output error: the disk or a limit is "
        f"full, or the file system has no locks); put it on a local disk with space, {kept}",
    }
    return next((line for sign, line in known.items() if sign in text), f"failed ({text})")
