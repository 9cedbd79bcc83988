"""Intervals of any statistic of sums, by leaving out one part of the data at a time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import t as student

from ensembles.errors import UsageError
from ensembles.statistics.shares import normal_quantile

__all__ = ["Estimates", "jackknife"]

Array = NDArray[np.float64]


class Estimates(NamedTuple):
    """Numbers with their intervals, arrays of one shape.

    Attributes:
        value: The numbers, from all data.
        low: Lower ends of their intervals; NaN where there is none.
        high: Upper ends.
    """

    value: Array
    low: Array
    high: Array


def jackknife(
    statistic: Callable[[Array], Any], sums: ArrayLike, *, confidence: float = 0.95
) -> Estimates:
    """Delete-one-part jackknife of a statistic of sums over parts of the data.

    With f(-g) the statistic without part g of G, the standard error is
    ``sqrt((G - 1) / G * sum_g (f(-g) - mean f(-g))^2)``, and the interval goes as many of these to
    each side as Student's t of G - 1 degrees of freedom says. Numbers made of the same parts are
    paired by it. It suits smooth statistics (means, differences, ratios), not medians.

    Args:
        statistic: From the sums over some parts, (...), to a number or an array.
        sums: What each part adds, (parts, ...).
        confidence: Level of confidence.

    Returns:
        The statistic of all parts and its intervals; NaN for their ends where there is one part, or
        the statistic is not finite without one of them.

    Raises:
        UsageError: A level that is none, or no part.

    Source:
        J. W. Tukey, "Bias and confidence in not-quite large samples", Annals of Mathematical
        Statistics 29 (1958), 614; B. Efron and R. J. Tibshirani, "An introduction to the
        bootstrap" (1993), chapter 11.

    >>> jackknife(lambda s: s[0] / s[1], [[1.0, 2.0], [1.0, 2.0]])
    Estimates(value=array(0.5), low=array(0.5), high=array(0.5))
    """
    normal_quantile(confidence)
    parts = np.asarray(sums, float)
    if not len(parts):
        raise UsageError("a jackknife of no part of the data; expected one or more")
    total = parts.sum(0)
    value = np.asarray(statistic(total), float)
    groups = len(parts)
    if groups == 1:
        return Estimates(value, np.full_like(value, np.nan), np.full_like(value, np.nan))
    found = np.stack([np.asarray(statistic(total - part), float) for part in parts])
    found = np.where(np.isfinite(found), found, np.nan)
    error = np.sqrt((groups - 1) / groups * ((found - found.mean(0)) ** 2).sum(0))
    far = float(student.ppf((1 + confidence) / 2, groups - 1)) * error
    return Estimates(value, value - far, value + far)
