"""Bootstrap intervals of arrays: what other observations, or other random draws, would have shown.

Source: B. Efron, "Bootstrap methods: another look at the jackknife", Annals of Statistics 7 (1979);
all intervals are percentile intervals. The random numbers are those of each call alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import bootstrap

from ensembles.errors import UsageError
from ensembles.statistics.estimate import Estimate
from ensembles.statistics.shares import normal_quantile

__all__ = ["bootstrap_interval", "bootstrap_items", "median_interval", "percentile_interval"]

_CELLS = 4_000_000
Array = NDArray[np.float64]


def percentile_interval(
    data: Sequence[NDArray[Any]],
    statistic: Callable[..., Any],
    *,
    confidence: float = 0.95,
    resamples: int = 1000,
    seed: int = 0,
    paired: bool = False,
    vectorized: bool = True,
) -> tuple[Any, Any]:
    """Ends of a percentile interval of a statistic of one sample or of several.

    Args:
        data: Samples, each (n,).
        statistic: A function of the samples, along ``axis`` where it is vectorised.
        confidence: Level of confidence.
        resamples: How often to draw.
        seed: Seed of the random draws.
        paired: Whether the samples are drawn together.
        vectorized: Whether ``statistic`` takes ``axis``.

    Raises:
        UsageError: A level that is none, or fewer than 10 resamples.
    """
    normal_quantile(confidence)
    if resamples < 10:
        raise UsageError(f"{resamples} resamples; expected at least 10")
    found = bootstrap(
        data,
        statistic,
        n_resamples=resamples,
        batch=max(1, _CELLS // len(data[0])) if vectorized else None,
        vectorized=vectorized,
        paired=paired,
        axis=-1,
        confidence_level=confidence,
        method="percentile",
        random_state=np.random.default_rng(seed),
    ).confidence_interval
    return found.low, found.high


def bootstrap_interval(
    statistic: Callable[..., Any],
    *groups: ArrayLike,
    confidence: float = 0.95,
    resamples: int = 1000,
    seed: int = 0,
) -> tuple[float, float]:
    """Interval of a statistic of several groups, each drawn with replacement by itself.

    Args:
        statistic: A function of the groups, along ``axis``.
        groups: Two values or more in each, (n,).
        confidence: Level of confidence.
        resamples: How often to draw.
        seed: Seed of the random draws.

    Returns:
        Its lower and its upper end.

    Raises:
        UsageError: A level that is none, fewer than 10 resamples, or a group of one value.
    """
    samples = [np.asarray(group, float) for group in groups]
    if min(map(len, samples)) < 2:
        raise UsageError("a bootstrap of a group of one value; expected two values or more in each")
    low, high = percentile_interval(
        samples, statistic, confidence=confidence, resamples=resamples, seed=seed
    )
    return float(low), float(high)


def bootstrap_items(
    count: int,
    statistic: Callable[[NDArray[np.int64]], ArrayLike],
    *,
    confidence: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> tuple[Array, Array]:
    """Interval of any statistic of a list, by drawing its items with replacement.

    Args:
        count: Number of items.
        statistic: From the numbers of the drawn items, (count,), to a number or to several; NaN,
            where it has no meaning for a draw, is left out.
        confidence: Level of confidence.
        resamples: How often to draw.
        seed: Seed of the random draws.

    Returns:
        Its lower and upper ends, of the shape of the statistic.

    Raises:
        UsageError: A level that is none, fewer than 10 resamples, or no items.
    """
    normal_quantile(confidence)
    if resamples < 10:
        raise UsageError(f"{resamples} resamples; expected at least 10")
    if count < 1:
        raise UsageError("a bootstrap of no items; expected one or more")
    draw = np.random.default_rng(seed)
    found = [statistic(draw.integers(0, count, count)) for _ in range(resamples)]
    levels = (1 - confidence) / 2, (1 + confidence) / 2
    low, high = np.nanquantile(np.asarray(found, float), levels, axis=0)
    return low, high


def median_interval(
    values: ArrayLike, *, confidence: float = 0.95, resamples: int = 1000, seed: int = 0
) -> Estimate:
    """Median of some values with its bootstrap interval; of one value, that value.

    Args:
        values: Values, (n,); NaN is left out.
        confidence: Level of confidence.
        resamples: How often to draw.
        seed: Seed of the random draws.

    Returns:
        NaN where there are no values.

    Raises:
        UsageError: A level that is none, or fewer than 10 resamples.

    >>> median_interval([1, 1, 1])
    Estimate(value=1.0, low=1.0, high=1.0)
    """
    known = np.asarray(values, float)
    known = known[~np.isnan(known)]
    if not len(known):
        return Estimate(np.nan, np.nan, np.nan)
    middle = float(np.median(known))
    if len(known) == 1:
        return Estimate(middle, middle, middle)
    ends = bootstrap_interval(
        np.median, known, confidence=confidence, resamples=resamples, seed=seed
    )
    return Estimate(middle, *ends)
