"""The table of notes: JSON values under names."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ensembles.store.connection import Connection

__all__ = ["TABLE", "all_notes", "enter_notes", "keep_note", "read_note"]

TABLE = """
CREATE TABLE notes (
    name TEXT PRIMARY KEY,
    value TEXT NOT NULL            -- JSON
) WITHOUT ROWID"""


def read_note(connection: Connection, name: str) -> Any:
    """The value under a name, or None."""
    rows = connection.rows("SELECT value FROM notes WHERE name = ?", (name,))
    return json.loads(rows[0][0]) if rows else None


def all_notes(connection: Connection) -> list[tuple[str, Any]]:
    """All names and values."""
    rows = connection.rows("SELECT name, value FROM notes ORDER BY name")
    return [(name, json.loads(value)) for name, value in rows]


def keep_note(connection: Connection, name: str, value: Any) -> None:
    """Keep a value under a name, in place of an older one."""
    text = json.dumps(value)
    with connection.transaction(len(text)) as raw:
        raw.execute("INSERT OR REPLACE INTO notes VALUES (?, ?)", (name, text))


def enter_notes(raw: sqlite3.Connection, notes: Iterable[tuple[str, Any]]) -> None:
    """Enter values under names that have none."""
    rows = ((name, json.dumps(value)) for name, value in notes)
    raw.executemany("INSERT OR IGNORE INTO notes VALUES (?, ?)", rows)
