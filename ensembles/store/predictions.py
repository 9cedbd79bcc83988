"""The table of predictions: the predicted class of each observation under a lesion."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING

from ensembles.store.seals import Rows, sealed

if TYPE_CHECKING:
    from ensembles.store.connection import Connection

__all__ = ["ROWS", "TABLE", "has_predictions", "keep_predictions", "predictions_of"]

TABLE = """
CREATE TABLE predictions (
    lesion INTEGER PRIMARY KEY REFERENCES lesions,
    run INTEGER NOT NULL REFERENCES runs,
    classes BLOB NOT NULL,         -- as differences from the labels, compressed
    checksum INTEGER NOT NULL
)"""

ROWS = Rows("predictions", (int, int, bytes))


def predictions_of(connection: Connection, context: int) -> list[tuple[int, int, bytes]]:
    """Number of each lesion of a context that has predictions, of their run, and these."""
    return connection.read(
        ROWS,
        "SELECT predictions.* FROM predictions JOIN lesions ON lesions.id = lesion "
        "WHERE context = ? ORDER BY lesion",
        (context,),
    )


def has_predictions(raw: sqlite3.Connection, lesion: int) -> bool:
    """Whether the predictions of a lesion are there."""
    sql = "SELECT 1 FROM predictions WHERE lesion = ?"
    return raw.execute(sql, (lesion,)).fetchone() is not None


def keep_predictions(raw: sqlite3.Connection, lesion: int, run: int, classes: bytes) -> None:
    """Keep the predictions of a lesion, in place of older ones."""
    raw.execute(
        "INSERT OR REPLACE INTO predictions VALUES (?, ?, ?, ?)", sealed(lesion, run, classes)
    )
