"""The tables of analyses and of their rows."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from ensembles.store.seals import DamageError, Rows, next_number, sealed

if TYPE_CHECKING:
    from ensembles.store.connection import Connection

__all__ = [
    "CELLS", "ROWS", "TABLES", "Analysis", "analyses_of", "enter_analysis", "keep_analysis",
    "parse",
]  # fmt: skip

HELD = {"text", "truth", "integer", "nullable", "exact", "number", "counts", "numbers"}
"""What a column may hold, as `ensembles.tables.columns` says it."""

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
    checksum INTEGER NOT NULL,
    UNIQUE (context, name, options)
)""",
    """
CREATE TABLE analysis_rows (
    analysis INTEGER NOT NULL REFERENCES analyses,
    position INTEGER NOT NULL,
    cells TEXT NOT NULL,           -- JSON: a value for each column
    checksum INTEGER NOT NULL,
    PRIMARY KEY (analysis, position)
) WITHOUT ROWID""",
)


ROWS = Rows("analyses", (int, int, str, str, int, str, str))
CELLS = Rows("analysis_rows", (int, int, str))


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
    named = (context, analysis.name, _written(analysis.options))
    sql = "SELECT 1 FROM analyses WHERE context = ? AND name = ? AND options = ?"
    if raw.execute(sql, named).fetchone():
        return False
    number = next_number(raw, ROWS.table)
    row = sealed(number, *named, analysis.run, attrs, columns)
    raw.execute("INSERT INTO analyses VALUES (?, ?, ?, ?, ?, ?, ?, ?)", row)
    cells = (sealed(number, *row) for row in enumerate(map(json.dumps, analysis.rows)))
    raw.executemany("INSERT INTO analysis_rows VALUES (?, ?, ?, ?)", cells)
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
    sql = f"SELECT * FROM analyses WHERE {' AND '.join(conditions)} ORDER BY id"
    cells = "SELECT * FROM analysis_rows WHERE analysis = ? ORDER BY position"
    found = connection.read(ROWS, sql, arguments)
    return [connection.guarded(parse, row, connection.read(CELLS, cells, row[:1])) for row in found]


def parse(
    row: tuple[int, int, str, str, int, str, str], rows: list[tuple[int, int, str]]
) -> Analysis:
    """An analysis from its row, and from the rows of its table.

    Raises:
        DamageError: If one is not as the program writes it.
    """
    _, _, name, options, run, attrs, columns = row
    try:
        given, told, held = (json.loads(text) for text in (options, attrs, columns))
        listed = [json.loads(cells) for _, _, cells in rows]
    except (ValueError, RecursionError) as error:
        raise DamageError(f"{ROWS.told(row)} holds no JSON") from error
    if not all(isinstance(one, dict) for one in (given, told, held)):
        raise DamageError(f"{ROWS.told(row)} holds something else than JSON objects")
    if not set(map(str, held.values())) <= HELD:
        raise DamageError(f"{ROWS.told(row)} has columns of a type that there is not")
    whole = [position for _, position, _ in rows] == list(range(len(rows)))
    if not whole or not all(isinstance(one, list) and len(one) == len(held) for one in listed):
        raise DamageError(f"{ROWS.told(row)} has rows of another form than its columns")
    return Analysis(run, name, given, told, held, listed)


def _written(options: Mapping[str, Any]) -> str:
    """Options as the text by which they are found again."""
    return json.dumps(dict(options), sort_keys=True)
