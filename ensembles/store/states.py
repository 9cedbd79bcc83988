"""The table of states: what each metric kept of each lesion."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterable, Sequence
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from ensembles.store.seals import DamageError, Rows, sealed

if TYPE_CHECKING:
    from ensembles.store.connection import Connection

__all__ = [
    "ROWS",
    "TABLE",
    "State",
    "complete",
    "complete_in",
    "keep_state",
    "metrics_of",
    "parse",
    "states_by_lesion",
    "states_of",
]

TABLE = """
CREATE TABLE states (
    lesion INTEGER NOT NULL REFERENCES lesions,
    metric TEXT NOT NULL,
    run INTEGER NOT NULL REFERENCES runs,
    total INTEGER NOT NULL,        -- observations
    nonfinite INTEGER NOT NULL,    -- of them those whose output was not finite
    state BLOB NOT NULL,           -- numbers that the metric kept, exactly
    checksum INTEGER NOT NULL,
    PRIMARY KEY (lesion, metric)
) WITHOUT ROWID"""

_Row: TypeAlias = tuple[int, str, int, int, int, bytes]

ROWS = Rows("states", (int, str, int, int, int, bytes))


class State(NamedTuple):
    """A row of the table, but for its lesion and metric.

    Attributes:
        run: Number of the run that measured it.
        total: Observations.
        nonfinite: Of them those whose output was not finite.
        content: What the metric kept, as `ensembles.store.blobs` encodes it.
    """

    run: int
    total: int
    nonfinite: int
    content: bytes

    def differs(self, other: State) -> bool:
        """Whether the same lesion was counted otherwise; sums of rounded numbers may differ."""
        counts = (self.total, self.nonfinite)
        whole = self.is_whole and other.is_whole
        return counts != (other.total, other.nonfinite) or (whole and self.content != other.content)

    @property
    def is_whole(self) -> bool:
        """Whether the metric kept whole numbers alone."""
        return self.content[0] % 16 != 8


def states_by_lesion(
    connection: Connection, context: int, metrics: Sequence[str] | None = None
) -> dict[int, dict[str, State]]:
    """What metrics kept of each lesion of a context, by the number of the lesion.

    Args:
        connection: To the store.
        context: Number of the context.
        metrics: Their names; by default all.
    """
    chosen = "" if metrics is None else f" AND metric IN ({_marks(metrics)})"
    rows = connection.read(
        ROWS,
        "SELECT states.* FROM lesions JOIN states ON lesion = lesions.id "
        f"WHERE context = ?{chosen}",
        (context, *(metrics or ())),
    )
    return connection.guarded(_by_lesion, rows)


def _by_lesion(rows: Iterable[_Row]) -> dict[int, dict[str, State]]:
    found: dict[int, dict[str, State]] = {}
    for row in rows:
        lesion, metric, state = parse(row)
        kept = found.get(lesion)
        if kept is None:
            kept = found[lesion] = {}
        kept[metric] = state
    return found


def parse(row: _Row) -> tuple[int, str, State]:
    """Lesion, metric and state of a row.

    Raises:
        DamageError: If it counts more observations that were not finite than there are, or fewer
            than none, or holds no numbers.
    """
    lesion, metric, run, total, bad, content = row
    if not 0 <= bad <= total:
        raise DamageError(
            f"{ROWS.told(row)} has {bad} observations that were not finite, of {total}; expected 0 "
            f"to {total}"
        )
    if len(content) < 2:
        raise DamageError(f"{ROWS.told(row)} holds no numbers")
    return lesion, metric, State(run, total, bad, content)


def states_of(raw: sqlite3.Connection, lesion: int) -> dict[str, State]:
    """What each metric kept of a lesion."""
    rows = ROWS.read(raw.execute("SELECT * FROM states WHERE lesion = ?", (lesion,)))
    return {metric: state for _, metric, state in map(parse, rows)}


def metrics_of(connection: Connection, context: int) -> set[str]:
    """Names of the metrics that kept something of any lesion of a context."""
    rows = connection.rows(
        "SELECT DISTINCT metric FROM lesions JOIN states ON lesion = lesions.id WHERE context = ?",
        (context,),
    )
    return {metric for (metric,) in rows}


def keep_state(raw: sqlite3.Connection, lesion: int, metric: str, state: State) -> None:
    """Keep what a metric kept of a lesion, in place of an older row."""
    values = sealed(lesion, metric, *state)
    raw.execute("INSERT OR REPLACE INTO states VALUES (?, ?, ?, ?, ?, ?, ?)", values)


def complete_in(
    connection: Connection,
    context: int,
    metrics: Sequence[str],
    predictions: bool,
    lesions: Collection[int] | None = None,
) -> set[int]:
    """Numbers of the lesions of a context of which all of some metrics are there.

    Args:
        connection: To the store.
        context: Number of the context.
        metrics: Names of the metrics, each once.
        predictions: Whether predictions are to be there too.
        lesions: Numbers of those that are looked at; by default all of the context.
    """
    condition, arguments = complete(metrics, predictions)
    chosen = "" if lesions is None else f"id IN ({_marks(lesions)}) AND "
    sql = f"SELECT id FROM lesions WHERE {chosen}context = ? AND {condition}"
    rows = connection.rows(sql, (*(lesions or ()), context, *arguments))
    return {number for (number,) in rows}


def complete(metrics: Sequence[str], predictions: bool) -> tuple[str, tuple[str | int, ...]]:
    """The condition on rows of `lesions` that all of some metrics are there.

    Args:
        metrics: Their names, each once.
        predictions: Whether predictions are to be there too.

    Returns:
        SQL, and its arguments.
    """
    sql = (
        "(SELECT count(*) FROM states WHERE states.lesion = lesions.id "
        f"AND metric IN ({_marks(metrics)})) = ?"
    )
    if predictions:
        sql += " AND EXISTS (SELECT 1 FROM predictions WHERE predictions.lesion = lesions.id)"
    return sql, (*metrics, len(metrics))


def _marks(values: Iterable[object]) -> str:
    return ", ".join("?" for _ in values)
