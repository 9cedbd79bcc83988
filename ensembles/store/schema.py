"""The tables of a store, and which versions of them this program reads."""

from __future__ import annotations

import sqlite3
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
)

__all__ = ["APPLICATION", "TABLES", "VERSION", "make_tables", "stored_version"]

APPLICATION = 0x456E736D
"""Written into the header of the file, so that no other SQLite file is taken for a store."""

OLDEST = 1
"""The oldest version that this program brings up to date (`ensembles.store.migration`)."""

VERSION = 2
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
