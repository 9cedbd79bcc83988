"""The tables of version 2, whose rows carried no checksum, and how they come to have one."""

from __future__ import annotations

import sqlite3

from ensembles.store.seals import checksum

__all__ = ["TABLES", "rewrite"]

TABLES = (
    """
CREATE TABLE contexts (
    id INTEGER PRIMARY KEY,
    digest TEXT NOT NULL UNIQUE,
    key TEXT NOT NULL,
    about TEXT NOT NULL,
    labels BLOB NOT NULL
)""",
    """
CREATE TABLE runs (
    id INTEGER PRIMARY KEY,
    token TEXT NOT NULL UNIQUE,
    provenance TEXT NOT NULL
)""",
    """
CREATE TABLE lesions (
    id INTEGER PRIMARY KEY,
    context INTEGER NOT NULL REFERENCES contexts,
    kind TEXT NOT NULL,
    text TEXT NOT NULL,
    material TEXT NOT NULL,
    UNIQUE (context, kind, text, material)
)""",
    """
CREATE TABLE draws (
    lesion INTEGER NOT NULL REFERENCES lesions,
    trial INTEGER NOT NULL,
    seed INTEGER NOT NULL,
    PRIMARY KEY (lesion, trial, seed)
) WITHOUT ROWID""",
    """
CREATE TABLE states (
    lesion INTEGER NOT NULL REFERENCES lesions,
    metric TEXT NOT NULL,
    run INTEGER NOT NULL REFERENCES runs,
    total INTEGER NOT NULL,
    nonfinite INTEGER NOT NULL,
    state BLOB NOT NULL,
    PRIMARY KEY (lesion, metric)
) WITHOUT ROWID""",
    """
CREATE TABLE predictions (
    lesion INTEGER PRIMARY KEY REFERENCES lesions,
    run INTEGER NOT NULL REFERENCES runs,
    classes BLOB NOT NULL
)""",
    """
CREATE TABLE failures (
    lesion INTEGER PRIMARY KEY REFERENCES lesions,
    run INTEGER NOT NULL REFERENCES runs,
    reason TEXT NOT NULL
)""",
    """
CREATE TABLE claims (
    lesion INTEGER PRIMARY KEY REFERENCES lesions,
    owner TEXT NOT NULL,
    expires REAL NOT NULL
)""",
    "CREATE INDEX claims_of_owner ON claims (owner)",
    """
CREATE TABLE analyses (
    id INTEGER PRIMARY KEY,
    context INTEGER NOT NULL REFERENCES contexts,
    name TEXT NOT NULL,
    options TEXT NOT NULL,
    run INTEGER NOT NULL REFERENCES runs,
    attrs TEXT NOT NULL,
    columns TEXT NOT NULL,
    UNIQUE (context, name, options)
)""",
    """
CREATE TABLE analysis_rows (
    analysis INTEGER NOT NULL REFERENCES analyses,
    position INTEGER NOT NULL,
    cells TEXT NOT NULL,
    PRIMARY KEY (analysis, position)
) WITHOUT ROWID""",
    """
CREATE TABLE notes (
    name TEXT PRIMARY KEY,
    value TEXT NOT NULL
) WITHOUT ROWID""",
)
"""Statements that made them."""

_UNSEALED = ("claims",)


def rewrite(raw: sqlite3.Connection, tables: tuple[str, ...]) -> None:
    """Put everything into the tables of this version, in a transaction.

    Args:
        raw: To a store of version 2, without foreign keys; the caller commits.
        tables: Statements that make the tables of this version.
    """
    found = raw.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY rowid")
    names = [name for (name,) in found.fetchall()]
    raw.execute("DROP INDEX claims_of_owner")
    for name in names:
        raw.execute(f"ALTER TABLE {name} RENAME TO old_{name}")
    for statement in tables:
        raw.execute(statement)
    raw.create_function("checksum_of_row", -1, checksum, deterministic=True)
    for name in names:
        columns = [row[1] for row in raw.execute(f"PRAGMA table_info(old_{name})")]
        sealed = "" if name in _UNSEALED else f", checksum_of_row({', '.join(columns)})"
        raw.execute(f"INSERT INTO {name} SELECT {', '.join(columns)}{sealed} FROM old_{name}")
    for name in reversed(names):
        raw.execute(f"DROP TABLE old_{name}")
