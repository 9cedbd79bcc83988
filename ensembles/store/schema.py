"""The tables of a store, and which versions of them this program reads."""

from __future__ import annotations

import re
import sqlite3
from contextlib import closing
from functools import lru_cache
from pathlib import Path

from ensembles.errors import StoreError
from ensembles.store import (
    analyses,
    claims,
    contexts,
    failures,
    lesions,
    notes,
    predictions,
    runs,
    states,
    version_1,
    version_2,
)
from ensembles.store.seals import DamageError

__all__ = [
    "APPLICATION", "TABLES", "VERSION", "bring_up_to_date", "check_objects", "make_tables",
    "stored_version",
]  # fmt: skip

APPLICATION = 0x456E736D
"""Written into the header of the file, so that no other SQLite file is taken for a store."""

OLDEST = 1
"""The oldest version that this program brings up to date (`ensembles.store.migration`)."""

VERSION = 3
"""Of the tables below."""

TABLES = (
    contexts.TABLE,
    runs.TABLE,
    *lesions.TABLES,
    states.TABLE,
    predictions.TABLE,
    failures.TABLE,
    *claims.TABLES,
    *analyses.TABLES,
    notes.TABLE,
)
"""Statements that make them, in an order in which each finds what it refers to."""


def make_tables(connection: sqlite3.Connection) -> None:
    """Make the tables, in a transaction that may write."""
    for statement in TABLES:
        connection.execute(statement)
    connection.execute(f"PRAGMA application_id = {APPLICATION}")
    connection.execute(f"PRAGMA user_version = {VERSION}")


def bring_up_to_date(connection: sqlite3.Connection, version: int) -> None:
    """Put what an older version holds into the tables of this one.

    Args:
        connection: In a transaction that may write, without foreign keys.
        version: The older version.

    Raises:
        DamageError: If it holds what that version did not write.
    """
    connection.execute(f"DROP TABLE IF EXISTS {COPY_MARK}")
    try:
        if version == 1:
            version_1.rewrite(connection)
        version_2.rewrite(connection, TABLES)
    except (ValueError, TypeError, LookupError, AttributeError, ArithmeticError) as error:
        why = " ".join(str(error).split())[:100]
        raise DamageError(f"what version {version} wrote cannot be read: {why}") from error
    except RecursionError as error:
        raise DamageError(f"what version {version} wrote cannot be read: too deep") from error
    connection.execute(f"PRAGMA user_version = {VERSION}")


def check_objects(connection: sqlite3.Connection, path: Path, version: int) -> None:
    """Refuse a file that holds other tables, views, triggers or indices than the program makes.

    Nothing but SQLite's own list of them is read before.

    Raises:
        StoreError: Naming the first that is another one, or missing.
    """
    made = {1: version_1.TABLES, 2: version_2.TABLES, VERSION: TABLES}[version]
    expected, found = _objects_of(made), _objects(connection)
    if version != VERSION and found.get(("table", COPY_MARK)) == f"{COPY_MARK}: {MARKED}":
        del found["table", COPY_MARK]
    for named in (*found.keys() - expected.keys(), *expected.keys() - found.keys()):
        what = "holds" if named in found else "lacks"
        raise StoreError(
            f"store {path}: {what} the {' '.join(named)[:80]!r}, and the program makes "
            f"{'none' if named in found else 'one'}; it is damaged or was written by another hand: "
            "go on from a copy, or name another file"
        )
    for named, sql in expected.items():
        if found[named] != sql:
            raise StoreError(
                f"store {path}: its {' '.join(named)} is not as the program makes it; it is "
                "damaged or was written by another hand: go on from a copy, or name another file"
            )


COPY_MARK = "copy_made_by_migration"
"""The table by which a copy that is kept beside a store is known."""

MARKED = f"CREATE TABLE {COPY_MARK} (mark)"
"""The statement that makes it."""

_SPACE = re.compile(r"\s*(--[^\n]*)?\s+")
_MOST_OBJECTS = 100


def _objects(connection: sqlite3.Connection) -> dict[tuple[str, str], str]:
    """What is in a file, by kind and name, as the statement that made it, without comments."""
    sql = f"SELECT type, name, tbl_name, sql FROM sqlite_master LIMIT {_MOST_OBJECTS}"
    return {
        (str(kind), str(name)): f"{table}: {_SPACE.sub(' ', str(text))}"
        for kind, name, table, text in connection.execute(sql)
    }


@lru_cache
def _objects_of(statements: tuple[str, ...]) -> dict[tuple[str, str], str]:
    with closing(sqlite3.connect(":memory:")) as made:
        for statement in statements:
            made.execute(statement)
        return _objects(made)


def stored_version(connection: sqlite3.Connection, path: Path) -> int | None:
    """The version of a store's tables; None where there are none yet.

    Raises:
        StoreError: If the file is another program's, or of a version that this one cannot read.
    """
    application, version, tables = _marks(connection)
    if application == 0 and version == 0 and tables == 0:
        return None
    if application != APPLICATION:
        raise StoreError(
            f"store {path}: is the SQLite file of another program, no store of results; "
            "name another file"
        )
    if not OLDEST <= version <= VERSION:
        raise StoreError(
            f"store {path}: has version {version} of the tables, this program reads versions "
            f"{OLDEST} to {VERSION}; use the program that made it, or name another file"
        )
    return version


def _marks(connection: sqlite3.Connection) -> tuple[int, int, int]:
    """Application, version and number of tables, as of one moment: others may be making them."""
    alone = not connection.in_transaction
    if alone:
        connection.execute("BEGIN")
    try:
        [application] = connection.execute("PRAGMA application_id").fetchone()
        [version] = connection.execute("PRAGMA user_version").fetchone()
        [tables] = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    finally:
        if alone and connection.in_transaction:
            connection.execute("ROLLBACK")
    return int(application), int(version), int(tables)
