"""Intervals of shares and of their differences, from counts.

Sources:
    E. B. Wilson, "Probable inference, the law of succession, and statistical inference", Journal of
    the American Statistical Association 22 (1927); R. G. Newcombe, "Interval estimation for the
    difference between independent proportions: comparison of eleven methods", Statistics in
    Medicine 17 (1998), 873, method 10; R. G. Newcombe, "Improved confidence intervals for the
    difference between binomial proportions based on paired data", ibid., 2635, method 10.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtri

from ensembles.errors import UsageError
from ensembles.statistics.estimate import Estimate

__all__ = ["difference_of_shares", "normal_quantile", "paired_difference", "wilson_interval"]

Array = NDArray[np.float64]


def wilson_interval(
    successes: ArrayLike, total: ArrayLike, confidence: float = 0.95
) -> tuple[Array, Array]:
    """Wilson's score interval for binomial shares.

    Args:
        successes: How often it happened, any shape.
        total: Out of how many, of a shape that broadcasts with it.
        confidence: Level of confidence, between 0 and 1.

    Returns:
        Lower and upper ends; NaN where ``total`` is 0.

    Raises:
        UsageError: The level is not between 0 and 1.

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


def difference_of_shares(
    successes: Sequence[int], totals: Sequence[int], confidence: float = 0.95
) -> Estimate:
    """Difference of two independent shares, first less second, with Newcombe's interval.

    Args:
        successes: How often it happened in the first and in the second sample.
        totals: Out of how many in each, 1 or more.
        confidence: Level of confidence.

    Raises:
        UsageError: The level is not between 0 and 1, or a sample is empty.

    >>> found = difference_of_shares((56, 48), (70, 80))
    >>> f"{found.value:.4f} {found.low:.4f} {found.high:.4f}"
    '0.2000 0.0524 0.3339'
    """
    if min(totals) < 1:
        raise UsageError("shares of an empty sample; expected one observation or more in each")
    first, second = (k / n for k, n in zip(successes, totals, strict=True))
    low, high = wilson_interval(np.array(successes), np.array(totals), confidence)
    below = np.hypot(first - low[0], high[1] - second)
    above = np.hypot(high[0] - first, second - low[1])
    difference = first - second
    return Estimate(difference, float(difference - below), float(difference + above))


def paired_difference(
    both: ArrayLike,
    first: ArrayLike,
    second: ArrayLike,
    neither: ArrayLike,
    confidence: float = 0.95,
) -> tuple[Array, Array, Array]:
    """Difference of two shares of the same observations, first less second.

    Args:
        both: Observations where it happened both times, any shape.
        first: Where it happened the first time alone.
        second: Where it happened the second time alone.
        neither: Where it happened neither time.
        confidence: Level of confidence.

    Returns:
        The difference, and the lower and upper ends of Newcombe's interval.

    Raises:
        UsageError: The level is not between 0 and 1.
    """
    a, b, c, d = (np.asarray(cell, float) for cell in (both, first, second, neither))
    n = a + b + c + d
    one, other = (a + b) / n, (a + c) / n
    low1, high1 = wilson_interval(a + b, n, confidence)
    low2, high2 = wilson_interval(a + c, n, confidence)
    margins = np.sqrt((a + b) * (c + d) * (a + c) * (b + d))
    agreement = a * d - b * c
    shrunk = np.where(agreement > 0, np.maximum(agreement - n / 2, 0), agreement)
    phi = np.divide(shrunk, margins, out=np.zeros_like(shrunk), where=margins > 0)
    down = _joined(one - low1, high2 - other, phi)
    up = _joined(high1 - one, other - low2, phi)
    return (b - c) / n, one - other - down, one - other + up


def normal_quantile(confidence: float) -> float:
    """Half the width of the central interval of a standard normal variable.

    Raises:
        UsageError: The level is not between 0 and 1.
    """
    if not 0 < confidence < 1:
        raise UsageError(f"confidence {confidence}: expected a number between 0 and 1")
    return float(ndtri((1 + confidence) / 2))


def _joined(one: Array, other: Array, phi: Array) -> Array:
    return np.sqrt(np.maximum(one**2 - 2 * phi * one * other + other**2, 0))
