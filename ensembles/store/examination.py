"""A store is examined: SQLite's own structure, every row, and whether what they say can be."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ensembles.store import (
    analyses,
    claims,
    contexts,
    failures,
    lesions,
    notes,
    predictions,
    runs,
    states,
)
from ensembles.store.key import Context
from ensembles.store.seals import DamageError, Rows

if TYPE_CHECKING:
    from ensembles.store.connection import Connection

__all__ = ["examine", "glance"]

_WHOLE = 2 << 20
_STRUCTURE = 64 << 20
"""Bytes of a file that is looked at as a whole when it is opened, or at least in its structure."""

_PARSED: tuple[tuple[Rows, Callable[[Any], Any] | None], ...] = (
    (contexts.ROWS, contexts.parse),
    (runs.ROWS, runs.parse),
    (lesions.ROWS, None),
    (lesions.DRAWS, lesions.check_draw),
    (states.ROWS, states.parse),
    (predictions.ROWS, None),
    (failures.ROWS, None),
    (analyses.ROWS, None),
    (analyses.CELLS, None),
    (notes.ROWS, notes.parse),
)


def glance(connection: Connection) -> None:
    """Look at a store that is opened: a small one whole, but for its numbers; a large one's pages.

    What is not looked at here is held against its checksum when it is read.

    Raises:
        StoreError: If it is not as the program made it.
    """
    size = connection.path.stat().st_size
    if size <= _STRUCTURE:
        with connection.moment():
            _check_pages(connection, "integrity_check" if size <= _WHOLE else "quick_check")
            if size <= _WHOLE:
                _check_rows(connection)


def examine(connection: Connection) -> Counter[str]:
    """Look at all that a store holds.

    Returns:
        How many rows there are, by table.

    Raises:
        StoreError: If anything is not as the program made it, or cannot be.
    """
    with connection.moment():
        _check_pages(connection, "integrity_check")
        counted = _check_rows(connection)
        for number, context in contexts.all_contexts(connection).items():
            connection.guarded(_check_numbers, connection, number, context)
            analyses.analyses_of(connection, number)
    return counted


def _check_pages(connection: Connection, pragma: str) -> None:
    def check() -> None:
        [(found,), *_] = connection.rows(f"PRAGMA {pragma}(1)")
        if found != "ok":
            raise DamageError(" ".join(str(found).split())[:120])
        wrong = len(connection.rows("PRAGMA foreign_key_check"))
        if wrong:
            raise DamageError(f"{wrong} rows refer to others that are not there")

    connection.guarded(check)


def _check_rows(connection: Connection) -> Counter[str]:
    counted: Counter[str] = Counter()
    for table, parse in _PARSED:
        found = connection.read(table, f"SELECT * FROM {table.table}", (), parse)
        counted[table.table] = len(found)
    connection.guarded(claims.check_claims, connection.rows("SELECT * FROM claims"))
    return counted


def _check_numbers(connection: Connection, number: int, context: Context) -> None:
    """Counts, sums and predictions of a context, and that its lesions are of its blocks."""
    import numpy as np  # noqa: PLC0415

    from ensembles.store.blobs import decode_predictions  # noqa: PLC0415 (numpy)
    from ensembles.store.numbers import Observed  # noqa: PLC0415 (numpy)

    observed, kept = Observed(context), states.states_by_lesion(connection, number)
    numbers = observed.numbers(kept)
    for lesion, run, classes in predictions.predictions_of(connection, number):
        found = decode_predictions(classes, observed.labels, context.classes)
        counted = kept.get(lesion, {}).get("top1")
        right = int(np.count_nonzero(found == observed.labels))
        if counted and counted.run == run and numbers[lesion]["top1"][0] != right:
            raise DamageError(
                f"lesion {lesion} has {numbers[lesion]['top1'][0]:g} right answers, its "
                f"predictions {right}"
            )
    for name in lesions.lesions_of(connection, number):
        lesions.check_blocks(name, len(context.key.blocks))
