"""The table of failures: lesions that could not be measured, and why."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ensembles.lesions import Lesion
    from ensembles.store.connection import Connection

__all__ = ["TABLE", "drop_failure", "failures_of", "keep_failure"]

TABLE = """
CREATE TABLE failures (            -- tried again by the next run
    lesion INTEGER PRIMARY KEY REFERENCES lesions,
    run INTEGER NOT NULL REFERENCES runs,
    reason TEXT NOT NULL
)"""


def failures_of(connection: Connection, context: int) -> dict[Lesion, str]:
    """Why lesions of a context could not be measured."""
    from ensembles.store.lesions import Names  # noqa: PLC0415 (the kinds, only where asked for)

    rows = connection.rows(
        "SELECT kind, text, reason FROM failures JOIN lesions ON id = lesion "
        "WHERE context = ? ORDER BY id",
        (context,),
    )
    names = Names()
    found = ((names.lesion(kind, text), reason) for kind, text, reason in rows)
    return {one: reason for one, reason in found if one is not None}


def keep_failure(raw: sqlite3.Connection, lesion: int, run: int, reason: str) -> None:
    """Note why a lesion could not be measured, in place of an older reason."""
    raw.execute("INSERT OR REPLACE INTO failures VALUES (?, ?, ?)", (lesion, run, reason))


def drop_failure(raw: sqlite3.Connection, lesion: int) -> None:
    """Forget why a lesion could not be measured."""
    raw.execute("DELETE FROM failures WHERE lesion = ?", (lesion,))
