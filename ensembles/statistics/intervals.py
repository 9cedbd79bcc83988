"""Intervals that the number of images leaves for an error."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtri

from ensembles.errors import UsageError
from ensembles.statistics.tables import require_columns

__all__ = ["error_intervals", "normal_quantile", "wilson_interval"]


def wilson_interval(
    successes: ArrayLike, total: ArrayLike, confidence: float = 0.95
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Wilson's score interval for binomial shares.

    Args:
        successes: How often it happened, any shape.
        total: Out of how many, of a shape that broadcasts with it.
        confidence: Level of confidence, between 0 and 1.

    Returns:
        Lower and upper ends; NaN where ``total`` is 0.

    Source:
        E. B. Wilson, "Probable inference, the law of succession, and statistical inference",
        Journal of the American Statistical Association 22 (1927).

    >>> low, high = wilson_interval(10, 100)
    >>> f"{low:.4f} {high:.4f}"
    '0.0552 0.1744'
    """
    z = normal_quantile(confidence)
    k, n = np.asarray(successes, float), np.asarray(total, float)
    with np.errstate(divide="ignore", invalid="ignore"):
        share = k / n
        centre = (share + z**2 / (2 * n)) / (1 + z**2 / n)
        half = z / (1 + z**2 / n) * np.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    low = np.where(k == 0, 0.0, centre - half)
    high = np.where(k == n, 1.0, centre + half)
    return np.where(n > 0, low, np.nan), np.where(n > 0, high, np.nan)


def error_intervals(frame: pd.DataFrame, confidence: float = 0.95) -> pd.DataFrame:
    """Add to each lesion the interval that the number of images leaves for its error.

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


def normal_quantile(confidence: float) -> float:
    """Half the width of the central interval of a standard normal variable.

    Raises:
        UsageError: The level is not between 0 and 1.
    """
    if not 0 < confidence < 1:
        raise UsageError(f"confidence {confidence}: expected a number between 0 and 1")
    return float(ndtri((1 + confidence) / 2))
