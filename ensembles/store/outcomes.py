"""Outcomes go into a store."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence

from ensembles.engine.outcome import Outcome
from ensembles.store.connection import Connection
from ensembles.store.context import Context
from ensembles.store.rows import decode_labels, encode_counts, encode_predictions

__all__ = ["insert_outcomes"]

_Details = tuple[bytes, bytes | None]


def insert_outcomes(
    connection: Connection,
    context: Context,
    ids: Mapping[tuple[str, str], int],
    outcomes: Sequence[Outcome],
    run: int,
) -> int:
    """Insert outcomes in one transaction, and lift the claims and failures of their lesions.

    Args:
        connection: To the store.
        context: The network and the data.
        ids: Numbers of the lesions by kind and blocks.
        outcomes: What was measured.
        run: Number of the run.

    Returns:
        How many lesions were not there before. Of the others the counts stay as they are, unless
        predictions come with the new ones only.
    """
    details = [_details(outcome, context) for outcome in outcomes]
    size = sum(200 + sum(len(part or b"") for part in pair or ()) for pair in details)
    added = 0
    with connection.transaction(size) as raw:
        for outcome, pair in zip(outcomes, details, strict=True):
            row = ids[outcome.lesion.kind, outcome.lesion.text]
            added += _insert(raw, row, outcome, pair, run)
            raw.execute("DELETE FROM failures WHERE lesion = ?", (row,))
            raw.execute("DELETE FROM claims WHERE lesion = ?", (row,))
    return added


def _details(outcome: Outcome, context: Context) -> _Details | None:
    if outcome.class_correct is None:
        return None
    predictions = None
    if outcome.predictions is not None:
        labels, classes = decode_labels(context.labels), int(context.about["num_classes"])
        predictions = encode_predictions(outcome.predictions, labels, classes)
    return encode_counts(outcome.class_correct), predictions


def _insert(
    raw: sqlite3.Connection, row: int, outcome: Outcome, details: _Details | None, run: int
) -> bool:
    there = raw.execute(
        "SELECT predictions IS NULL FROM outcomes LEFT JOIN details USING (lesion) "
        "WHERE lesion = ?",
        (row,),
    ).fetchone()
    adds_predictions = details is not None and details[1] is not None
    if there is not None and not (there[0] and adds_predictions):
        return False
    values = (outcome.correct, outcome.total, outcome.loss_sum, outcome.nonfinite)
    raw.execute("INSERT OR REPLACE INTO outcomes VALUES (?, ?, ?, ?, ?, ?)", (row, run, *values))
    if details is not None:
        raw.execute("INSERT OR REPLACE INTO details VALUES (?, ?, ?)", (row, *details))
    return there is None
