"""Path analyses as rows, and rows as path analyses."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pandas as pd

from ensembles.store.connection import Connection

__all__ = ["insert_analysis", "read_analyses"]

_PLACES = ("at", "class")
_TYPES = {"at": "str", "class": "str", "length": "int64", "paths": "object"}


def insert_analysis(
    connection: Connection,
    context: int,
    options: Mapping[str, Any],
    frame: pd.DataFrame,
    run: int,
) -> None:
    """Insert an analysis in one transaction, unless it is there.

    Args:
        connection: To the store.
        context: Number of the context.
        options: What determines the analysis.
        frame: Its table.
        run: Number of the run.
    """
    place = next(name for name in _PLACES if name in frame.columns)
    rows = [
        (position, int(row["length"]), str(row[place]), json.dumps(row))
        for position, row in enumerate(frame.to_dict("records"))
    ]
    attrs = json.dumps({**frame.attrs, "columns": list(frame.columns)}, default=str)
    size = len(attrs) + sum(len(row[3]) + 50 for row in rows)
    with connection.transaction(size) as raw:
        new = raw.execute(
            "INSERT OR IGNORE INTO analyses (context, options, run, attrs) VALUES (?, ?, ?, ?)",
            (context, _text(options), run, attrs),
        )
        if new.rowcount:
            sql = "INSERT INTO path_rows VALUES (?, ?, ?, ?, ?)"
            raw.executemany(sql, ((new.lastrowid, *row) for row in rows))


def read_analyses(
    connection: Connection, context: int, options: Mapping[str, Any] | None
) -> list[pd.DataFrame]:
    """The analyses of a context: all, or the one with certain options."""
    sql = "SELECT id, attrs FROM analyses WHERE context = ?"
    if options is None:
        found = connection.rows(f"{sql} ORDER BY id", (context,))
    else:
        found = connection.rows(f"{sql} AND options = ?", (context, _text(options)))
    return [_frame(connection, number, json.loads(attrs)) for number, attrs in found]


def _frame(connection: Connection, number: int, attrs: dict[str, Any]) -> pd.DataFrame:
    rows = [
        json.loads(text)
        for (text,) in connection.rows(
            "SELECT numbers FROM path_rows WHERE analysis = ? ORDER BY position", (number,)
        )
    ]
    frame = pd.DataFrame(
        {
            name: pd.Series([row[name] for row in rows], dtype=_TYPES.get(name, "float64"))
            for name in attrs.pop("columns")
        }
    )
    frame.attrs.update(attrs)
    return frame


def _text(options: Mapping[str, Any]) -> str:
    return json.dumps(dict(options), sort_keys=True)
