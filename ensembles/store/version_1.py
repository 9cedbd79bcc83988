"""The tables of version 1, and what they held in those of version 2."""

from __future__ import annotations

import json
import math
import sqlite3
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, TypeAlias

from ensembles.store import version_2
from ensembles.store.key import MOST_CLASSES

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["TABLES", "rewrite"]

TABLES = (
    """
CREATE TABLE contexts (
    id INTEGER PRIMARY KEY,
    digest TEXT NOT NULL UNIQUE,
    key TEXT NOT NULL,
    about TEXT NOT NULL,
    labels BLOB NOT NULL
)""",
    """
CREATE TABLE runs (
    id INTEGER PRIMARY KEY,
    token TEXT NOT NULL UNIQUE,
    provenance TEXT NOT NULL
)""",
    """
CREATE TABLE lesions (
    id INTEGER PRIMARY KEY,
    context INTEGER NOT NULL REFERENCES contexts,
    kind TEXT NOT NULL,
    blocks TEXT NOT NULL,
    UNIQUE (context, kind, blocks)
)""",
    """
CREATE TABLE draws (
    lesion INTEGER NOT NULL REFERENCES lesions,
    trial INTEGER NOT NULL,
    seed INTEGER NOT NULL,
    PRIMARY KEY (lesion, trial, seed)
) WITHOUT ROWID""",
    """
CREATE TABLE outcomes (
    lesion INTEGER PRIMARY KEY REFERENCES lesions,
    run INTEGER NOT NULL REFERENCES runs,
    correct INTEGER NOT NULL,
    total INTEGER NOT NULL,
    loss_sum REAL,
    nonfinite INTEGER NOT NULL
)""",
    """
CREATE TABLE details (
    lesion INTEGER PRIMARY KEY REFERENCES outcomes,
    class_correct BLOB NOT NULL,
    predictions BLOB
)""",
    """
CREATE TABLE failures (
    lesion INTEGER PRIMARY KEY REFERENCES lesions,
    run INTEGER NOT NULL REFERENCES runs,
    reason TEXT NOT NULL
)""",
    """
CREATE TABLE claims (
    lesion INTEGER PRIMARY KEY REFERENCES lesions,
    owner TEXT NOT NULL,
    expires REAL NOT NULL
)""",
    "CREATE INDEX claims_of_owner ON claims (owner)",
    """
CREATE TABLE analyses (
    id INTEGER PRIMARY KEY,
    context INTEGER NOT NULL REFERENCES contexts,
    options TEXT NOT NULL,
    run INTEGER NOT NULL REFERENCES runs,
    attrs TEXT NOT NULL,
    UNIQUE (context, options)
)""",
    """
CREATE TABLE path_rows (
    analysis INTEGER NOT NULL REFERENCES analyses,
    position INTEGER NOT NULL,
    length INTEGER NOT NULL,
    place TEXT NOT NULL,
    numbers TEXT NOT NULL,
    PRIMARY KEY (analysis, position)
) WITHOUT ROWID""",
    """
CREATE TABLE notes (
    name TEXT PRIMARY KEY,
    value TEXT NOT NULL
) WITHOUT ROWID""",
)
"""Statements that made them."""

_NAMES = (
    "contexts", "runs", "lesions", "draws", "outcomes", "details", "failures", "claims", "analyses",
    "path_rows", "notes",
)  # fmt: skip
_UNCHANGED = ("contexts", "runs", "draws", "failures", "claims", "notes")
_LESIONS = """
INSERT INTO lesions (id, context, kind, text, material)
SELECT id, context, kind, blocks, '' FROM old_lesions"""
_PREDICTIONS = """
INSERT INTO predictions SELECT lesion, run, predictions
FROM old_outcomes JOIN old_details USING (lesion) WHERE predictions IS NOT NULL"""
_OUTCOMES = """
SELECT context, lesion, run, total, nonfinite, correct, loss_sum, class_correct, predictions
FROM old_outcomes JOIN old_lesions ON id = lesion LEFT JOIN old_details USING (lesion)"""
_COLUMNS = {"at": "text", "class": "text", "length": "integer", "paths": "exact"}
"""What the columns of a path analysis hold; all others are numbers."""

_StateRow: TypeAlias = tuple[int, str, int, int, int, bytes]


def rewrite(raw: sqlite3.Connection) -> None:
    """Put everything into the tables of version 2, in a transaction.

    Args:
        raw: To a store of version 1, without foreign keys; the caller commits.
    """
    raw.execute("DROP INDEX claims_of_owner")
    for table in _NAMES:
        raw.execute(f"ALTER TABLE {table} RENAME TO old_{table}")
    for statement in version_2.TABLES:
        raw.execute(statement)
    for table in _UNCHANGED:
        raw.execute(f"INSERT INTO {table} SELECT * FROM old_{table}")
    raw.execute(_LESIONS)
    raw.execute(_PREDICTIONS)
    raw.executemany("INSERT INTO states VALUES (?, ?, ?, ?, ?, ?)", _states(raw))
    _copy_analyses(raw)
    for table in reversed(_NAMES):
        raw.execute(f"DROP TABLE old_{table}")


def _states(raw: sqlite3.Connection) -> Iterator[_StateRow]:
    """What the metrics `top1`, `loss` and `classes` would have kept."""
    from ensembles.store.blobs import encode_state  # noqa: PLC0415 (numpy)

    rows = raw.execute("SELECT id, about, labels FROM contexts").fetchall()
    contexts = {number: _Labels(json.loads(about), labels) for number, about, labels in rows}
    for context, lesion, run, total, bad, correct, loss, right, predicted in raw.execute(_OUTCOMES):
        kept: dict[str, Any] = {"top1": [correct], "loss": [math.nan if loss is None else loss]}
        if right is not None:
            kept["classes"] = contexts[context].state(right, total, bad, predicted)
        for metric, state in kept.items():
            yield lesion, metric, run, total, bad, encode_state(state)


class _Labels:
    """The labels of a context, and what the metric `classes` keeps of a lesion there."""

    def __init__(self, about: dict[str, Any], labels: bytes) -> None:
        import numpy as np  # noqa: PLC0415

        from ensembles.store.blobs import decode_labels  # noqa: PLC0415 (numpy)

        self.classes = int(about["num_classes"])
        if not 0 <= self.classes <= MOST_CLASSES:
            raise ValueError(f"{self.classes} classes")
        self.labels = decode_labels(labels)
        self.totals = np.bincount(self.labels, minlength=self.classes)

    def state(
        self, right: bytes, total: int, nonfinite: int, predictions: bytes | None
    ) -> NDArray[np.float64]:
        """Right answers of each class, then observations of each class whose output was finite.

        Where some outputs were not finite and no predictions tell which, all observations are
        taken: version 1 did not keep their classes.
        """
        import numpy as np  # noqa: PLC0415

        from ensembles.store.blobs import decode_predictions  # noqa: PLC0415 (numpy)

        counts = np.frombuffer(right, dtype=f"<u{len(right) // self.classes}")
        totals = self.totals
        if nonfinite == total:
            totals = np.zeros_like(totals)
        elif nonfinite and predictions is not None:
            finite = decode_predictions(predictions, self.labels, self.classes) >= 0
            totals = np.bincount(self.labels[finite], minlength=self.classes)
        return np.concatenate([counts, totals]).astype(np.float64)


def _copy_analyses(raw: sqlite3.Connection) -> None:
    """Path analyses have the name `paths`; their rows are lists in the order of the columns."""
    sql = "SELECT id, context, options, run, attrs FROM old_analyses"
    for number, context, options, run, text in raw.execute(sql).fetchall():
        attrs = json.loads(text)
        names = attrs.pop("columns")
        columns = json.dumps({name: _COLUMNS.get(name, "number") for name in names})
        values = (number, context, "paths", options, run, json.dumps(attrs), columns)
        raw.execute("INSERT INTO analyses VALUES (?, ?, ?, ?, ?, ?, ?)", values)
        rows = raw.execute(
            "SELECT position, numbers FROM old_path_rows WHERE analysis = ?", (number,)
        ).fetchall()
        for position, cells in rows:
            found = json.loads(cells)
            listed = json.dumps([found[name] for name in names])
            raw.execute("INSERT INTO analysis_rows VALUES (?, ?, ?)", (number, position, listed))
