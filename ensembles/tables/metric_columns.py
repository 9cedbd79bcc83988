"""The columns of a table that metrics brought: found again by their names."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from ensembles.errors import UsageError
from ensembles.metrics import METRICS, Column, Metric
from ensembles.tables.schema import LESION_COLUMNS, Attributes

__all__ = ["column_of", "number_column", "number_columns"]


def column_of(name: str, frame: pd.DataFrame | None = None) -> Column | None:
    """What a metric says of its column: which direction is better, and what axes call it.

    Args:
        name: Name of the column.
        frame: A table that holds it; the metrics that it names come first.

    Returns:
        None where no metric that is known here has such a column.
    """
    return next(
        (column for metric in _metrics(frame) for column in metric.columns if column.name == name),
        None,
    )


def number_column(name: str, frame: pd.DataFrame) -> str:
    """The column that stands for a measure: that of the name, or the metric's first of numbers.

    >>> number_column("top1", pd.DataFrame({"error": [0.1]}))
    'error'
    """
    if name in frame.columns:
        return name
    columns = next((one.columns for one in _metrics(frame) if one.name == name), ())
    ordered = sorted(columns, key=lambda column: column.type != "number")
    return next((column.name for column in ordered), name)


def number_columns(frame: pd.DataFrame) -> list[str]:
    """The columns of a table of lesions that hold further measures, beside error and loss."""
    numbers = frame.select_dtypes("number").columns
    return [str(name) for name in numbers if name not in LESION_COLUMNS and name != "model"]


def _metrics(frame: pd.DataFrame | None) -> Iterator[Metric]:
    """The metrics that a table names, then all; those that cannot be imported are left out."""
    named = () if frame is None else Attributes.of(frame).metrics
    for name in dict.fromkeys((*named, *METRICS.names())):
        try:
            yield METRICS.get(name)
        except UsageError:
            continue
