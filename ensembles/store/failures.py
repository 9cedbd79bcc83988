"""The table of failures: lesions that could not be measured, and why."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING

from ensembles.store.lesions import Name, lesions_of
from ensembles.store.seals import Rows, sealed

if TYPE_CHECKING:
    from ensembles.store.connection import Connection

__all__ = ["ROWS", "TABLE", "drop_failure", "failures_of", "keep_failure"]

TABLE = """
CREATE TABLE failures (            -- tried again by the next run
    lesion INTEGER PRIMARY KEY REFERENCES lesions,
    run INTEGER NOT NULL REFERENCES runs,
    reason TEXT NOT NULL,
    checksum INTEGER NOT NULL
)"""

ROWS = Rows("failures", (int, int, str))


def failures_of(connection: Connection, context: int) -> dict[Name, str]:
    """Why lesions of a context could not be measured, in the order in which they were asked for."""
    rows = connection.read(
        ROWS,
        "SELECT failures.* FROM lesions JOIN failures ON id = lesion WHERE context = ? ORDER BY id",
        (context,),
    )
    if not rows:
        return {}
    names = {number: name for name, number in lesions_of(connection, context).items()}
    return {names[lesion]: reason for lesion, _, reason in rows}


def keep_failure(raw: sqlite3.Connection, lesion: int, run: int, reason: str) -> None:
    """Note why a lesion could not be measured, in place of an older reason."""
    raw.execute("INSERT OR REPLACE INTO failures VALUES (?, ?, ?, ?)", sealed(lesion, run, reason))


def drop_failure(raw: sqlite3.Connection, lesion: int) -> None:
    """Forget why a lesion could not be measured."""
    raw.execute("DELETE FROM failures WHERE lesion = ?", (lesion,))
