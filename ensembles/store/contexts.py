"""The table of contexts: networks on data, under which everything else is kept."""

from __future__ import annotations

import json
import sqlite3
from typing import TYPE_CHECKING

from ensembles.store.key import Context, Key
from ensembles.store.seals import DamageError, Rows, next_number, sealed

if TYPE_CHECKING:
    from ensembles.store.connection import Connection

__all__ = ["ROWS", "TABLE", "all_contexts", "enter_context", "keep_context", "number_of", "parse"]

TABLE = """
CREATE TABLE contexts (
    id INTEGER PRIMARY KEY,
    digest TEXT NOT NULL UNIQUE,   -- sha256 of the key
    key TEXT NOT NULL,             -- JSON: what determines a result, but for the lesion
    about TEXT NOT NULL,           -- JSON: names for tables and figures
    labels BLOB NOT NULL,          -- of the observations, compressed
    checksum INTEGER NOT NULL
)"""

ROWS = Rows("contexts", (int, str, str, str, bytes))


def all_contexts(connection: Connection) -> dict[int, Context]:
    """All contexts by their numbers, in the order in which they came."""
    return dict(connection.read(ROWS, "SELECT * FROM contexts ORDER BY id", (), parse))


def parse(row: tuple[int, str, str, str, bytes]) -> tuple[int, Context]:
    """The number and the context of a row.

    Raises:
        DamageError: If the digest is not that of the key, or a text is not as it is written.
    """
    number, digest, key, about, labels = row
    try:
        found = Context(Key.parse(key), json.loads(about), labels)
    except (ValueError, TypeError, RecursionError) as error:
        raise DamageError(f"{ROWS.told(row)} has a key that cannot be read") from error
    if (found.key.text, found.key.digest) != (key, digest):
        raise DamageError(f"{ROWS.told(row)} has the digest of another key")
    fault = found.key.fault or found.fault
    if fault:
        raise DamageError(f"{ROWS.told(row)}: {fault}")
    return number, found


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
    found = raw.execute("SELECT id FROM contexts WHERE digest = ?", row[:1]).fetchone()
    if found:
        return int(found[0])
    number = next_number(raw, ROWS.table)
    raw.execute("INSERT INTO contexts VALUES (?, ?, ?, ?, ?, ?)", sealed(number, *row))
    return number
