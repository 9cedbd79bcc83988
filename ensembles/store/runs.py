"""The table of runs: how results were made."""

from __future__ import annotations

import json
import secrets
import sqlite3
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ensembles.store.seals import DamageError, Rows, next_number, sealed

if TYPE_CHECKING:
    from ensembles.store.connection import Connection

__all__ = ["ROWS", "TABLE", "all_runs", "begin_run", "enter_run", "parse", "plain", "runs_of"]

TABLE = """
CREATE TABLE runs (
    id INTEGER PRIMARY KEY,
    token TEXT NOT NULL UNIQUE,
    provenance TEXT NOT NULL,      -- JSON
    checksum INTEGER NOT NULL
)"""

ROWS = Rows("runs", (int, str, str))

_OF_A_CONTEXT = """
SELECT * FROM runs WHERE id IN (
    SELECT run FROM states JOIN lesions ON lesions.id = lesion WHERE context = :context
    UNION SELECT run FROM predictions JOIN lesions ON lesions.id = lesion WHERE context = :context
    UNION SELECT run FROM analyses WHERE context = :context
) ORDER BY id"""


def begin_run(connection: Connection, provenance: Mapping[str, Any]) -> int:
    """Enter a run; the number by which rows refer to it."""
    text = json.dumps(provenance, default=plain)
    with connection.transaction(len(text)) as raw:
        return enter_run(raw, secrets.token_hex(16), text)


def enter_run(raw: sqlite3.Connection, token: str, provenance: str) -> int:
    """Enter a run by a token that no other has, unless it is there; its number."""
    found = raw.execute("SELECT id FROM runs WHERE token = ?", (token,)).fetchone()
    if found:
        return int(found[0])
    number = next_number(raw, "runs")
    raw.execute("INSERT INTO runs VALUES (?, ?, ?, ?)", sealed(number, token, provenance))
    return number


def all_runs(connection: Connection) -> dict[int, tuple[str, str]]:
    """Token and provenance (JSON) of all runs by their numbers, in the order in which they came."""
    rows = connection.read(ROWS, "SELECT * FROM runs ORDER BY id")
    return {number: (token, provenance) for number, token, provenance in rows}


def runs_of(connection: Connection, context: int) -> list[dict[str, Any]]:
    """The provenance of each run that added rows of a context."""
    return connection.read(ROWS, _OF_A_CONTEXT, {"context": context}, parse)


def parse(row: tuple[int, str, str]) -> dict[str, Any]:
    """The provenance of a row.

    Raises:
        DamageError: If it is no JSON object.
    """
    try:
        found = json.loads(row[2])
    except (ValueError, RecursionError) as error:
        raise DamageError(f"{ROWS.told(row)} holds no JSON") from error
    if not isinstance(found, dict):
        raise DamageError(f"{ROWS.told(row)} holds no JSON object")
    return found


def plain(value: object) -> Any:
    """What JSON has no form for: arrays and their numbers as Python's own, the rest as text."""
    return value.tolist() if hasattr(value, "tolist") else str(value)
