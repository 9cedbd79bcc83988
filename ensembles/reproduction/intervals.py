"""Intervals of what the experiments compare: medians, differences, correlations."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from ensembles.statistics import rank_correlations, wilson_interval
from ensembles.statistics.resampling import percentile_interval

__all__ = [
    "bootstrap",
    "difference_of_shares",
    "interval_of",
    "median_interval",
    "spearman",
]

_RESAMPLES = 2000
Array = NDArray[np.float64]


def bootstrap(
    count: int, statistic: Callable[[NDArray[np.int64]], ArrayLike], resamples: int = _RESAMPLES
) -> Array:
    """Percentile intervals of a statistic, by drawing its items with replacement.

    Args:
        count: Number of items.
        statistic: From drawn indices to a number or to several.
        resamples: Number of draws; they are the same in every run.

    Returns:
        The 2.5 % and the 97.5 % quantile: (2,) or (2, numbers).
    """
    draw = np.random.default_rng(0)
    found = [statistic(draw.integers(0, count, count)) for _ in range(resamples)]
    return np.asarray(np.nanquantile(np.asarray(found, float), [0.025, 0.975], axis=0))


def interval_of(statistic: Callable[..., Any], *groups: Array) -> tuple[float, float]:
    """Bootstrap interval of a statistic of several groups, each drawn with replacement by itself.

    Args:
        statistic: Of the groups, along ``axis``.
        groups: Two values or more in each.
    """
    low, high = percentile_interval(groups, statistic, confidence=0.95, resamples=1000, seed=0)
    return float(low), float(high)


def median_interval(values: ArrayLike) -> tuple[float, float, float]:
    """Median of some values, with its bootstrap interval; of one value, that value.

    >>> median_interval([1, 1, 1])
    (1.0, 1.0, 1.0)
    """
    known = np.asarray(values, float)
    known = known[~np.isnan(known)]
    middle = float(np.median(known))
    return (middle, *interval_of(np.median, known)) if len(known) > 1 else (middle, middle, middle)


def difference_of_shares(
    successes: tuple[int, int], totals: tuple[int, int]
) -> tuple[float, float, float]:
    """Difference of two shares, first less second, with Newcombe's 95 % interval.

    Source:
        R. G. Newcombe, "Interval estimation for the difference between independent proportions",
        Statistics in Medicine 17 (1998), method 10.

    >>> difference, low, high = difference_of_shares((56, 48), (70, 80))
    >>> f"{difference:.4f} {low:.4f} {high:.4f}"
    '0.2000 0.0524 0.3339'
    """
    first, second = (k / n for k, n in zip(successes, totals, strict=True))
    low, high = wilson_interval(np.array(successes), np.array(totals))
    below = np.hypot(first - low[0], high[1] - second)
    above = np.hypot(high[0] - first, second - low[1])
    difference = first - second
    return difference, float(difference - below), float(difference + above)


def spearman(x: ArrayLike, y: ArrayLike) -> tuple[float, float, float]:
    """Spearman's rank correlation of pairs, with the interval of ``rank_correlations``."""
    pairs = pd.DataFrame({"count": np.asarray(x, float), "error": np.asarray(y, float)})
    table = rank_correlations(pairs.assign(lesion="pair", kendall_tau=1.0))
    row = table[table["coefficient"] == "spearman"].iloc[0]
    return float(row["value"]), float(row["low"]), float(row["high"])
