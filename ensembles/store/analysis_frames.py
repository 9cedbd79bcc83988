"""Tables of analyses as plain values that a store keeps, and back."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pandas as pd

from ensembles.store.analyses import Analysis
from ensembles.store.runs import plain as written
from ensembles.store.seals import DamageError
from ensembles.tables.columns import describe, plain, restore

__all__ = ["analysis_from", "frame_of"]


def analysis_from(name: str, options: Mapping[str, Any], frame: pd.DataFrame, run: int) -> Analysis:
    """A table as plain values; numbers keep every digit.

    Args:
        name: Name of the analysis.
        options: What else determines it.
        frame: The table.
        run: Number of the run that made it.
    """
    columns = describe(frame)
    values = [plain(frame[column], kind) for column, kind in columns.items()]
    rows = [list(row) for row in zip(*values, strict=True)]
    attrs = json.loads(json.dumps(frame.attrs, default=written))
    return Analysis(run, name, options, attrs, columns, rows)


def frame_of(analysis: Analysis) -> pd.DataFrame:
    """The table, with the types of its columns and its `attrs`.

    Raises:
        DamageError: If a value is not of the type of its column.
    """
    values = zip(*analysis.rows, strict=True) if analysis.rows else ([] for _ in analysis.columns)
    try:
        frame = pd.DataFrame(
            {
                name: restore(list(column), kind)
                for (name, kind), column in zip(analysis.columns.items(), values, strict=True)
            }
        )
    except (ValueError, TypeError, OverflowError, RecursionError) as error:
        raise DamageError(f"the table of {analysis.name} holds a wrong value: {error}") from error
    frame.attrs.update({"analysis": analysis.name} | dict(analysis.attrs))
    return frame
