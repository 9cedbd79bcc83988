"""The tables of a store, and which versions of them this program reads."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from pathlib import Path

from ensembles.errors import StoreError

__all__ = ["APPLICATION", "VERSION", "make_tables"]

APPLICATION = 0x456E736D
"""Written into the header of the file, so that no other SQLite file is taken for a store."""

VERSION = 1
"""Of the tables below."""

_TABLES = """
CREATE TABLE contexts (
    id INTEGER PRIMARY KEY,
    digest TEXT NOT NULL UNIQUE,   -- sha256 of the key
    key TEXT NOT NULL,             -- JSON: what determines a result, but for the lesion
    about TEXT NOT NULL,           -- JSON: names for tables and figures
    labels BLOB NOT NULL           -- of the images, compressed
);
CREATE TABLE runs (
    id INTEGER PRIMARY KEY,
    token TEXT NOT NULL UNIQUE,
    provenance TEXT NOT NULL       -- JSON
);
CREATE TABLE lesions (
    id INTEGER PRIMARY KEY,
    context INTEGER NOT NULL REFERENCES contexts,
    kind TEXT NOT NULL,
    blocks TEXT NOT NULL,          -- as in result tables: "3 17", "3-17 20-25"
    UNIQUE (context, kind, blocks)
);
CREATE TABLE draws (               -- under which names a lesion was asked for
    lesion INTEGER NOT NULL REFERENCES lesions,
    trial INTEGER NOT NULL,        -- -1: by itself, not drawn at random
    seed INTEGER NOT NULL,
    PRIMARY KEY (lesion, trial, seed)
) WITHOUT ROWID;
CREATE TABLE outcomes (
    lesion INTEGER PRIMARY KEY REFERENCES lesions,
    run INTEGER NOT NULL REFERENCES runs,
    correct INTEGER NOT NULL,
    total INTEGER NOT NULL,
    loss_sum REAL,                 -- nats
    nonfinite INTEGER NOT NULL     -- images whose logits were not finite
);
CREATE TABLE details (             -- apart, so that counting rows reads no blobs
    lesion INTEGER PRIMARY KEY REFERENCES outcomes,
    class_correct BLOB NOT NULL,
    predictions BLOB               -- compressed
);
CREATE TABLE failures (            -- not measured, tried again by the next run
    lesion INTEGER PRIMARY KEY REFERENCES lesions,
    run INTEGER NOT NULL REFERENCES runs,
    reason TEXT NOT NULL
);
CREATE TABLE claims (              -- lesions that a process is measuring now
    lesion INTEGER PRIMARY KEY REFERENCES lesions,
    owner TEXT NOT NULL,
    expires REAL NOT NULL          -- seconds since the epoch
);
CREATE INDEX claims_of_owner ON claims (owner);
CREATE TABLE analyses (
    id INTEGER PRIMARY KEY,
    context INTEGER NOT NULL REFERENCES contexts,
    options TEXT NOT NULL,         -- JSON
    run INTEGER NOT NULL REFERENCES runs,
    attrs TEXT NOT NULL,           -- JSON
    UNIQUE (context, options)
);
CREATE TABLE path_rows (
    analysis INTEGER NOT NULL REFERENCES analyses,
    position INTEGER NOT NULL,
    length INTEGER NOT NULL,
    place TEXT NOT NULL,           -- where the gradient arrives, or which class of images
    numbers TEXT NOT NULL,         -- JSON
    PRIMARY KEY (analysis, position)
) WITHOUT ROWID;
CREATE TABLE notes (
    name TEXT PRIMARY KEY,
    value TEXT NOT NULL            -- JSON
) WITHOUT ROWID;
"""

_MIGRATIONS: Mapping[int, Sequence[str]] = {}
"""What leads from a version to the next one; there has been none before the first."""


def make_tables(connection: sqlite3.Connection, path: Path) -> None:
    """Make the tables of a new store, or bring those of an older one up to date.

    Args:
        connection: In a transaction that may write.
        path: Of the store, for errors.

    Raises:
        StoreError: If the file is another program's, or of a version that this one cannot read.
    """
    version = stored_version(connection, path)
    if version is None:
        for statement in _TABLES.split(";"):
            connection.execute(statement)
        connection.execute(f"PRAGMA application_id = {APPLICATION}")
    else:
        while version < VERSION:
            for statement in _MIGRATIONS[version]:
                connection.execute(statement)
            version += 1
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
    if version > VERSION or any(old not in _MIGRATIONS for old in range(version, VERSION)):
        raise StoreError(
            f"store {path}: has version {version} of the tables, this program reads version "
            f"{VERSION}; use the program that made it, or name another file"
        )
    return int(version)


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
    return application, version, tables
