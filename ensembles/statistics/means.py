"""Means of a few independent values, with Student's interval, and differences of two means.

Source of the second: B. L. Welch, "The generalization of 'Student's' problem when several different
population variances are involved", Biometrika 34 (1947).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import t as student

from ensembles.errors import UsageError
from ensembles.statistics.estimate import Estimate

__all__ = ["difference_of_means", "mean_interval"]


def mean_interval(values: ArrayLike, confidence: float = 0.95) -> Estimate:
    """Mean of independent values, as of networks of several seeds, with Student's interval.

    Args:
        values: Values, (n,); NaN is left out.
        confidence: Level of confidence.

    Returns:
        NaN where there are no values; the interval also for one.

    Raises:
        UsageError: The level is not between 0 and 1.

    >>> [round(end, 2) for end in mean_interval([1, 2, 3])]
    [2.0, -0.48, 4.48]
    """
    known = _known(values, confidence)
    if not len(known):
        return Estimate(np.nan, np.nan, np.nan)
    mean = float(known.mean())
    if len(known) < 2:
        return Estimate(mean, np.nan, np.nan)
    error = float(known.std(ddof=1)) / np.sqrt(len(known))
    half = float(student.ppf((1 + confidence) / 2, len(known) - 1) * error)
    return Estimate(mean, mean - half, mean + half)


def difference_of_means(first: ArrayLike, second: ArrayLike, confidence: float = 0.95) -> Estimate:
    """Difference of the means of two independent samples, with Welch's interval.

    Args:
        first: Values, (n,); NaN is left out.
        second: Values, (m,), likewise.
        confidence: Level of confidence.

    Returns:
        The mean of the first less that of the second; NaN where a sample is empty, the interval
        also where one has a single value.

    Raises:
        UsageError: The level is not between 0 and 1.

    >>> difference_of_means([2, 2], [1, 1])
    Estimate(value=1.0, low=1.0, high=1.0)
    """
    one, other = _known(first, confidence), _known(second, confidence)
    if not (len(one) and len(other)):
        return Estimate(np.nan, np.nan, np.nan)
    difference = float(one.mean() - other.mean())
    if min(len(one), len(other)) < 2:
        return Estimate(difference, np.nan, np.nan)
    parts = [float(each.var(ddof=1)) / len(each) for each in (one, other)]
    variance = sum(parts)
    if variance == 0:
        return Estimate(difference, difference, difference)
    freedom = variance**2 / sum(
        part**2 / (len(each) - 1) for part, each in zip(parts, (one, other), strict=True)
    )
    half = float(student.ppf((1 + confidence) / 2, freedom) * np.sqrt(variance))
    return Estimate(difference, difference - half, difference + half)


def _known(values: ArrayLike, confidence: float) -> NDArray[np.float64]:
    if not 0 < confidence < 1:
        raise UsageError(f"confidence {confidence}: expected a number between 0 and 1")
    found: NDArray[np.float64] = np.asarray(values, np.float64)
    return found[~np.isnan(found)]
