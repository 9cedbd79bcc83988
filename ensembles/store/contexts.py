"""The table of contexts: networks on data, under which everything else is kept."""

from __future__ import annotations

import json
import sqlite3
from typing import TYPE_CHECKING

from ensembles.store.key import Context, Key

if TYPE_CHECKING:
    from ensembles.store.connection import Connection

__all__ = ["TABLE", "all_contexts", "enter_context", "keep_context", "number_of"]

TABLE = """
CREATE TABLE contexts (
    id INTEGER PRIMARY KEY,
    digest TEXT NOT NULL UNIQUE,   -- sha256 of the key
    key TEXT NOT NULL,             -- JSON: what determines a result, but for the lesion
    about TEXT NOT NULL,           -- JSON: names for tables and figures
    labels BLOB NOT NULL           -- of the observations, compressed
)"""


def all_contexts(connection: Connection) -> dict[int, Context]:
    """All contexts by their numbers, in the order in which they came."""
    rows = connection.rows("SELECT id, key, about, labels FROM contexts ORDER BY id")
    return {
        number: Context(Key.parse(key), json.loads(about), labels)
        for number, key, about, labels in rows
    }


def number_of(connection: Connection, context: Context) -> int:
    """The number of a context; 0, which none has, where it is not there."""
    rows = connection.rows("SELECT id FROM contexts WHERE digest = ?", (context.key.digest,))
    return int(rows[0][0]) if rows else 0


def keep_context(connection: Connection, context: Context) -> int:
    """The number of a context, which is entered where it is not there."""
    if found := number_of(connection, context):
        return found
    size = len(context.key.text) + len(context.labels) + len(json.dumps(context.about))
    with connection.transaction(size) as raw:
        return enter_context(raw, context)


def enter_context(raw: sqlite3.Connection, context: Context) -> int:
    """Enter a context, unless it is there; its number."""
    row = (context.key.digest, context.key.text, json.dumps(context.about), context.labels)
    raw.execute(
        "INSERT OR IGNORE INTO contexts (digest, key, about, labels) VALUES (?, ?, ?, ?)", row
    )
    [number] = raw.execute("SELECT id FROM contexts WHERE digest = ?", row[:1]).fetchone()
    return int(number)
