"""An older store is brought up to date, in place or as a temporary copy.

In place, a copy lies beside the file, as NAME.version-1 or -2, until the new tables have been
committed: a process that is killed at any moment leaves the old store or the new one, and the next
one that opens it to write goes on. A store that is only read is left as it is.
"""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing, suppress
from glob import escape
from pathlib import Path

from ensembles.errors import StoreError
from ensembles.files import atomic, followed
from ensembles.store.disk_room import check_room
from ensembles.store.schema import (
    COPY_MARK,
    MARKED,
    VERSION,
    bring_up_to_date,
    check_objects,
    stored_version,
)
from ensembles.store.sqlite import connect, copy_all

__all__ = ["copy_beside", "drop_copy", "migrate", "migrated_copy"]


def copy_beside(path: Path, version: int = 1) -> Path:
    """Where a store of an older version is kept until the new one has been committed."""
    whole = followed(path)
    return whole.with_name(f"{whole.name}.version-{version}")


def migrate(raw: sqlite3.Connection, path: Path) -> None:
    """Bring a store up to date in place, unless another process has done so meanwhile.

    Args:
        raw: A connection that may write, outside of a transaction.
        path: Of the store.

    Raises:
        StoreError: If there is no room for it, something else lies where the copy goes, or the
            store is damaged; it is then what it was.
    """
    raw.execute("PRAGMA foreign_keys = OFF")
    raw.execute("BEGIN IMMEDIATE")
    try:
        version = stored_version(raw, path)
        if version is None or version == VERSION:
            return
        check_objects(raw, path, version)
        check_room(path, 3 * path.stat().st_size // 2)
        try:
            _keep_copy(path, version)
            bring_up_to_date(raw, version)
            _check_references(raw, path)
            raw.execute("COMMIT")
        finally:
            drop_copy(path)
    finally:
        if raw.in_transaction:
            raw.execute("ROLLBACK")


def _keep_copy(path: Path, version: int) -> None:
    """Put a copy of the store, as of now, on the disk; the caller keeps all others from writing."""
    copy = copy_beside(path, version)
    if copy.exists() and not _is_copy(copy):
        raise StoreError(
            f"store {path}: {copy.name} is in the way of the copy that is kept while the tables "
            "are brought up to date; move it away"
        )
    for part in copy.parent.glob(f".{escape(copy.name)}.*.part*"):  # of killed processes
        part.unlink(missing_ok=True)
    with (
        atomic(copy) as scratch,
        closing(connect(path, "mode=ro")) as source,
        closing(sqlite3.connect(scratch, isolation_level=None)) as made,
    ):
        copy_all(source, made)
        made.execute("PRAGMA journal_mode = DELETE")
        made.execute(MARKED)
        shutil.copymode(path, scratch)


def drop_copy(path: Path) -> None:
    """Remove the copy of a store that is whole, if one was left behind."""
    for version in range(1, VERSION):
        copy = copy_beside(path, version)
        if copy.exists() and _is_copy(copy):
            copy.unlink(missing_ok=True)


def _is_copy(path: Path) -> bool:
    """Whether a file is a copy that a migration made; others are never touched."""
    with suppress(sqlite3.Error), closing(connect(path, "mode=ro&immutable=1")) as raw:
        sql = "SELECT 1 FROM sqlite_master WHERE name = ?"
        return raw.execute(sql, (COPY_MARK,)).fetchone() is not None
    return False


def migrated_copy(raw: sqlite3.Connection, path: Path) -> sqlite3.Connection:
    """A temporary copy of a store, brought up to date; it is gone when it is closed.

    Args:
        raw: A connection that reads.
        path: Of the store; another process may bring it up to date before it is copied.
    """
    copy = sqlite3.connect("", isolation_level=None)
    try:
        copy_all(raw, copy)
        version = stored_version(copy, path) or VERSION
        check_objects(copy, path, version)
        if version != VERSION:
            copy.execute("BEGIN")
            bring_up_to_date(copy, version)
            _check_references(copy, path)
            copy.execute("COMMIT")
        copy.execute("PRAGMA query_only = ON")
    except BaseException:
        copy.close()
        raise
    return copy


def _check_references(raw: sqlite3.Connection, path: Path) -> None:
    wrong = len(raw.execute("PRAGMA foreign_key_check").fetchall())
    if wrong:
        raise StoreError(
            f"store {path}: is damaged ({wrong} rows refer to others that are not there); go on "
            "from a copy, or name another file"
        )
