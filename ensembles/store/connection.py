"""One connection to a store's file: opened, and shared with other processes."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

from ensembles.errors import StoreError
from ensembles.files import followed
from ensembles.store.disk_room import check_room, has_locks, is_network_folder
from ensembles.store.migration import drop_copy, migrate, migrated_copy
from ensembles.store.schema import VERSION, check_objects, make_tables, stored_version
from ensembles.store.seals import Rows
from ensembles.store.sqlite import LOCKLESS, connect, patiently, translated

__all__ = ["Connection"]

_CHECKPOINT_PAGES = 64
_T = TypeVar("_T")


class Connection:
    """A connection to a store.

    Changes are made in transactions, which other processes see whole or not at all, and which are
    on the disk once they have ended. The write-ahead log is emptied into the file as it grows.

    Args:
        path: The file.
        write: Whether to make the store where there is none, and to change it; else it is read. An
            older store is brought up to date where it may be changed; where it is only read, a
            temporary copy of it is.
        make: Whether one that is to be changed is made where there is none.

    Raises:
        StoreError: If the file is no store, is of a version that this program does not read, or
            cannot be opened.
    """

    def __init__(self, path: Path, *, write: bool, make: bool = True) -> None:
        self.path, self._write = path, write
        with translated(path):
            _check_place(path, write and make)
            if write:
                check_room(path, 0)
                if not has_locks(followed(path).parent):
                    raise StoreError(f"store {path}: {LOCKLESS}")
            self._raw = _opened_to_write(path) if write else _opened_to_read(path)
            self._file = _identity(path)

    def close(self) -> None:
        """Close; the last process to do so leaves nothing but the file."""
        with suppress(sqlite3.Error):
            self._raw.close()

    def rows(self, sql: str, arguments: Any = ()) -> list[Any]:
        """All rows of a query, as of one moment."""
        with translated(self.path):
            return patiently(lambda: self._raw.execute(sql, arguments).fetchall())

    def read(
        self,
        table: Rows,
        sql: str,
        arguments: Any = (),
        parse: Callable[[Any], Any] | None = None,
    ) -> list[Any]:
        """Rows of a table, each held against its checksum.

        Args:
            table: What they hold.
            sql: A query for all columns of it.
            arguments: Of the query.
            parse: What is made of each row; raises `DamageError` for one that cannot be.

        Raises:
            StoreError: If a row is not what the program wrote.
        """
        found = self.rows(sql, arguments)
        with translated(self.path):
            rows = table.read(found)
            return rows if parse is None else list(map(parse, rows))

    def guarded(self, work: Callable[..., _T], *arguments: Any) -> _T:
        """Do something with rows; what is wrong with them is told with the name of the store."""
        with translated(self.path):
            return work(*arguments)

    def _check_file(self) -> None:
        """Refuse to go on in a file that has no name any more: what it takes would be lost."""
        try:
            there: tuple[int, int] | None = _identity(self.path)
        except FileNotFoundError:
            there = None
        if there != self._file:
            what = "deleted" if there is None else "replaced by another file"
            raise StoreError(
                f"store {self.path}: was {what} while it was in use; what was measured since is "
                "not stored: give the command again"
            )

    @contextmanager
    def moment(self) -> Iterator[None]:
        """Let all queries of the body see the store as of one moment."""
        within = self._raw.in_transaction
        with translated(self.path):
            if not within:
                self._raw.execute("BEGIN")
            try:
                yield
            finally:
                if not within and self._raw.in_transaction:
                    self._raw.execute("ROLLBACK")

    @contextmanager
    def transaction(
        self, size: int = 0, patience: float | None = None
    ) -> Iterator[sqlite3.Connection]:
        """Change the store: all of it, or nothing.

        Args:
            size: About how many bytes will be written.
            patience: Seconds to wait for another process; by default two minutes.

        Raises:
            StoreError: If the store is only read, was deleted or replaced meanwhile, the disk is
                full, or another process does not let go of the store.
        """
        if not self._write:
            raise StoreError(f"store {self.path}: was opened for reading")
        check_room(self.path, size)
        raw = self._raw
        with translated(self.path):
            patiently(lambda: raw.execute("BEGIN IMMEDIATE"), patience)
            try:
                self._check_file()
                yield raw
                self._check_file()
                patiently(lambda: raw.execute("COMMIT"))
            finally:
                if raw.in_transaction:
                    raw.execute("ROLLBACK")


def _identity(path: Path) -> tuple[int, int]:
    found = path.stat()
    return found.st_dev, found.st_ino


def _check_place(path: Path, write: bool) -> None:
    followed(path)
    if path.is_dir():
        raise StoreError(f"store {path}: is a folder; name a file in it")
    if path.exists() and not path.is_file():
        raise StoreError(f"store {path}: is no plain file; name one")
    if not write and not path.exists():
        raise StoreError(f"store {path}: there is no such file")
    if not path.parent.is_dir():
        raise StoreError(f"store {path}: there is no folder {path.parent}; make it first")


def _opened_to_write(path: Path) -> sqlite3.Connection:
    raw = connect(path, "mode=rwc")
    try:
        raw.execute("PRAGMA synchronous = FULL")
        raw.execute("PRAGMA temp_store = MEMORY")
        raw.execute(f"PRAGMA wal_autocheckpoint = {_CHECKPOINT_PAGES}")
        while (version := patiently(lambda: stored_version(raw, path))) != VERSION:
            step = _make if version is None else migrate
            patiently(lambda step=step: step(raw, path))  # type: ignore[misc]
        patiently(lambda: check_objects(raw, path, VERSION))
        drop_copy(path)
        raw.execute("PRAGMA foreign_keys = ON")
        patiently(lambda: _choose_journal(raw, path))
    except BaseException:
        raw.close()
        raise
    return raw


def _make(raw: sqlite3.Connection, path: Path) -> None:
    raw.execute("BEGIN IMMEDIATE")
    try:
        if stored_version(raw, path) is None:
            make_tables(raw)
        raw.execute("COMMIT")
    finally:
        if raw.in_transaction:
            raw.execute("ROLLBACK")


def _choose_journal(raw: sqlite3.Connection, path: Path) -> None:
    """A write-ahead log where memory can be shared; else a rollback journal, as safe but slower."""
    wanted = "delete" if is_network_folder(followed(path).parent) else "wal"
    [found] = raw.execute("PRAGMA journal_mode").fetchone()
    if found != wanted:
        raw.execute(f"PRAGMA journal_mode = {wanted}").fetchone()


def _opened_to_read(path: Path) -> sqlite3.Connection:
    """The first way that works; of an older store a copy that is brought up to date."""
    for way in (ways := _ways_to_read(path)):
        raw = connect(path, way)
        try:
            raw.execute("PRAGMA query_only = ON")
            version = patiently(lambda raw=raw: _checked_version(raw, path))  # type: ignore[misc]
            if version == VERSION:
                return raw
            copy = migrated_copy(raw, path)
            raw.close()
            return copy
        except sqlite3.OperationalError as error:
            raw.close()
            # While another process writes, a way without locks would see half of it.
            if way == ways[-1] or "is locked" in str(error):
                raise
        except BaseException:
            raw.close()
            raise
    raise AssertionError("the last way raises")


def _checked_version(raw: sqlite3.Connection, path: Path) -> int:
    """The version of a store, and its objects held against it, as of one moment."""
    raw.execute("BEGIN")
    try:
        version = stored_version(raw, path)
        if version is None:
            raise StoreError(f"store {path}: is empty, nothing has been stored in it")
        if version == VERSION:
            check_objects(raw, path, version)
        return version
    finally:
        if raw.in_transaction:
            raw.execute("ROLLBACK")


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
