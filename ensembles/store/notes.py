"""The table of notes: JSON values under names."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from ensembles.store.seals import DamageError, Rows, sealed

if TYPE_CHECKING:
    from ensembles.store.connection import Connection

__all__ = [
    "ROWS", "TABLE", "all_notes", "drop_notes", "enter_notes", "keep_note", "parse", "read_note",
]  # fmt: skip

TABLE = """
CREATE TABLE notes (
    name TEXT PRIMARY KEY,
    value TEXT NOT NULL,           -- JSON
    checksum INTEGER NOT NULL
) WITHOUT ROWID"""

ROWS = Rows("notes", (str, str))


def read_note(connection: Connection, name: str) -> Any:
    """The value under a name, or None."""
    rows = connection.read(ROWS, "SELECT * FROM notes WHERE name = ?", (name,), parse)
    return rows[0][1] if rows else None


def all_notes(connection: Connection) -> list[tuple[str, Any]]:
    """All names and values."""
    return connection.read(ROWS, "SELECT * FROM notes ORDER BY name", (), parse)


def parse(row: tuple[str, str]) -> tuple[str, Any]:
    """The name and the value of a row.

    Raises:
        DamageError: If it is no JSON.
    """
    try:
        return row[0], json.loads(row[1])
    except (ValueError, RecursionError) as error:
        raise DamageError(f"{ROWS.told(row[:1])} holds no JSON") from error


def keep_note(connection: Connection, name: str, value: Any) -> None:
    """Keep a value under a name, in place of an older one."""
    text = json.dumps(value)
    with connection.transaction(len(text)) as raw:
        raw.execute("INSERT OR REPLACE INTO notes VALUES (?, ?, ?)", sealed(name, text))


def drop_notes(connection: Connection, prefix: str) -> None:
    """Drop what is kept under names that begin so."""
    sql = "SELECT name FROM notes WHERE substr(name, 1, ?) = ?"
    arguments = (len(prefix), prefix)
    if not connection.rows(sql, arguments):
        return
    with connection.transaction() as raw:
        raw.execute("DELETE FROM notes WHERE substr(name, 1, ?) = ?", arguments)


def enter_notes(raw: sqlite3.Connection, notes: Iterable[tuple[str, Any]]) -> None:
    """Enter values under names that have none."""
    rows = (sealed(name, json.dumps(value)) for name, value in notes)
    raw.executemany("INSERT OR IGNORE INTO notes VALUES (?, ?, ?)", rows)
