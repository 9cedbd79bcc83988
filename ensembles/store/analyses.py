"""The tables of analyses and of their rows."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from ensembles.store.connection import Connection

__all__ = ["TABLES", "Analysis", "analyses_of", "enter_analysis", "keep_analysis"]

TABLES = (
    """
CREATE TABLE analyses (
    id INTEGER PRIMARY KEY,
    context INTEGER NOT NULL REFERENCES contexts,
    name TEXT NOT NULL,            -- of the analysis: "paths", "influence"
    options TEXT NOT NULL,         -- JSON: what else determines it
    run INTEGER NOT NULL REFERENCES runs,
    attrs TEXT NOT NULL,           -- JSON
    columns TEXT NOT NULL,         -- JSON: for each column what it holds
    UNIQUE (context, name, options)
)""",
    """
CREATE TABLE analysis_rows (
    analysis INTEGER NOT NULL REFERENCES analyses,
    position INTEGER NOT NULL,
    cells TEXT NOT NULL,           -- JSON: a value for each column
    PRIMARY KEY (analysis, position)
) WITHOUT ROWID""",
)


class Analysis(NamedTuple):
    """The table of an analysis as plain values.

    Attributes:
        run: Number of the run that made it.
        name: Name of the analysis.
        options: What else determines it.
        attrs: What the table's `attrs` hold.
        columns: What each column holds, as `ensembles.tables.columns` says it.
        rows: A value for each column, row by row.
    """

    run: int
    name: str
    options: Mapping[str, Any]
    attrs: Mapping[str, Any]
    columns: Mapping[str, str]
    rows: list[list[Any]]


def keep_analysis(connection: Connection, context: int, analysis: Analysis) -> None:
    """Keep an analysis in one transaction, unless it is there.

    Args:
        connection: To the store.
        context: Number of the context.
        analysis: The analysis.
    """
    size = sum(len(json.dumps(part)) + 30 for part in (analysis.attrs, *analysis.rows))
    with connection.transaction(size) as raw:
        enter_analysis(raw, context, analysis)


def enter_analysis(raw: sqlite3.Connection, context: int, analysis: Analysis) -> bool:
    """Enter an analysis, unless it is there; whether it was not."""
    attrs, columns = json.dumps(dict(analysis.attrs)), json.dumps(dict(analysis.columns))
    new = raw.execute(
        "INSERT OR IGNORE INTO analyses (context, name, options, run, attrs, columns) "
        "VALUES (?, ?, ?, ?, ?, ?)",
        (context, analysis.name, _written(analysis.options), analysis.run, attrs, columns),
    )
    if not new.rowcount:
        return False
    cells = enumerate(map(json.dumps, analysis.rows))
    sql = "INSERT INTO analysis_rows VALUES (?, ?, ?)"
    raw.executemany(sql, ((new.lastrowid, *row) for row in cells))
    return True


def analyses_of(
    connection: Connection,
    context: int,
    name: str | None = None,
    options: Mapping[str, Any] | None = None,
) -> list[Analysis]:
    """The analyses of a context, in the order in which they came.

    Args:
        connection: To the store.
        context: Number of the context.
        name: Name of the analysis; by default any.
        options: What else determines it; by default anything.
    """
    conditions: list[str] = ["context = ?"]
    arguments: list[Any] = [context]
    if name is not None:
        conditions.append("name = ?")
        arguments.append(name)
    if options is not None:
        conditions.append("options = ?")
        arguments.append(_written(options))
    found = connection.rows(
        "SELECT id, run, name, options, attrs, columns FROM analyses "
        f"WHERE {' AND '.join(conditions)} ORDER BY id",
        arguments,
    )
    return [
        Analysis(
            run,
            called,
            json.loads(given),
            json.loads(attrs),
            json.loads(columns),
            _rows(connection, number),
        )
        for number, run, called, given, attrs, columns in found
    ]


def _rows(connection: Connection, analysis: int) -> list[list[Any]]:
    sql = "SELECT cells FROM analysis_rows WHERE analysis = ? ORDER BY position"
    return [json.loads(cells) for (cells,) in connection.rows(sql, (analysis,))]


def _written(options: Mapping[str, Any]) -> str:
    """Options as the text by which they are found again."""
    return json.dumps(dict(options), sort_keys=True)
