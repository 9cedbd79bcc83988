"""Intervals that the number of observations leaves for the errors of a table."""

from __future__ import annotations

import numpy as np
import pandas as pd

from ensembles.statistics.shares import wilson_interval
from ensembles.tables.schema import require_columns

__all__ = ["error_intervals"]


def error_intervals(frame: pd.DataFrame, confidence: float = 0.95) -> pd.DataFrame:
    """Add to each lesion the interval that the number of observations leaves for its error.

    Args:
        frame: Lesions, with the columns ``correct``, ``total`` and ``error``.
        confidence: Level of confidence.

    Returns:
        A copy with the columns ``error_low`` and ``error_high``; NaN where ``error`` is.

    Raises:
        UsageError: A column is missing.
    """
    require_columns(frame, "correct", "total", "error")
    low, high = wilson_interval(frame.total - frame.correct, frame.total, confidence)
    known = frame["error"].notna()
    low, high = np.where(known, low, np.nan), np.where(known, high, np.nan)
    return frame.assign(error_low=low, error_high=high)
