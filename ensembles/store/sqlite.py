"""SQLite as a store needs it: patient with other processes, and its refusals in words."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar
from urllib.parse import quote

from ensembles.errors import StoreError
from ensembles.files import followed
from ensembles.store.seals import DamageError

__all__ = ["LOCKLESS", "PATIENCE", "connect", "copy_all", "patiently", "translated"]

PATIENCE = 120.0
"""Seconds to wait for another process before giving up."""

LOCKLESS = "its file system has no file locks; put the store on a local disk"

_BUSY = 1.0
_AT_ONCE = 1024  # pages of 4 KiB
_HELD = (5, 6)  # SQLITE_BUSY and SQLITE_LOCKED, which Python names since 3.11 only
_PROTECTED = (
    "cannot be opened (the folder or the file is protected); name another file, or change the "
    "permissions"
)
_PAUSE = 0.02
_T = TypeVar("_T")


def connect(path: Path, options: str) -> sqlite3.Connection:
    """Open a file through its address, with SQLite's options; never wait long inside SQLite."""
    address = f"file:{quote(os.fsencode(followed(path)))}?{options}"
    raw = sqlite3.connect(address, uri=True, isolation_level=None, timeout=_BUSY)
    # Nothing that lies in the file itself, such as a view, calls a function that can do anything.
    raw.execute("PRAGMA trusted_schema = OFF")
    raw.execute("PRAGMA cell_size_check = ON")
    return raw


def patiently(work: Callable[[], _T], patience: float | None = None) -> _T:
    """Do something that another process may be in the way of, again until it is not."""
    deadline = time.monotonic() + (PATIENCE if patience is None else patience)
    pause = _PAUSE
    while True:
        try:
            return work()
        except sqlite3.OperationalError as error:
            if not _is_busy(error) or time.monotonic() > deadline:
                raise
        time.sleep(pause * (0.5 + os.urandom(1)[0] / 255))
        pause = min(2 * pause, 0.5)


def copy_all(source: sqlite3.Connection, target: sqlite3.Connection) -> None:
    """Copy a database as of one moment, and wait for others no longer than the patience lasts."""
    deadline = time.monotonic() + PATIENCE

    def hurry(status: int, _left: int, _all: int) -> None:
        if status in _HELD and time.monotonic() > deadline:
            raise sqlite3.OperationalError("database is locked")

    source.backup(target, pages=_AT_ONCE, progress=hurry)  # a signal ends it between two parts


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
    except DamageError as error:
        raise StoreError(
            f"store {path}: is damaged, or was written by another hand ({error}); go on from a "
            "copy, or name another file"
        ) from error
    except (sqlite3.Error, OSError, UnicodeDecodeError) as error:  # SQLite's own words too
        raise StoreError(f"store {path}: {_reason(error)}") from error


def _reason(error: Exception) -> str:
    text = " ".join(str(error).split())
    kept = "what it held before is intact"
    known = {
        "symbolic links": "its links go in a circle; name another file",
        "such a name": "no file has such a name; name another one",
        "not a database": "is no store of results (no SQLite file); name another file",
        "malformed": f"is damaged ({text}); go on from a copy, or name another file",
        "t decode byte": "is damaged (a text that is no UTF-8); go on from a copy, or name another "
        "file",
        "Could not decode": "is damaged (a text that is no UTF-8); go on from a copy, or name "
        "another file",
        "is full": f"cannot be written (the disk is full); free space, {kept}",
        "No space left": f"cannot be written (the disk is full); free space, {kept}",
        "readonly": f"cannot be written (file or folder is read-only); name another file, {kept}",
        "read-only": f"cannot be written (file or folder is read-only); name another file, {kept}",
        "Permission denied": _PROTECTED,
        "unable to open": _PROTECTED,
        "is locked": f"another process has held it for {PATIENCE:.0f} s, or its file system has no "
        "locks; end that process, or put the store on a local disk",
        "locking protocol": LOCKLESS,
        "disk I/O error": "cannot be read or written (input/output error: the disk or a limit is "
        f"full, or the file system has no locks); put it on a local disk with space, {kept}",
    }
    return next((line for sign, line in known.items() if sign in text), f"failed ({text})")
