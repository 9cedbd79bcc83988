"""Rank correlations of pairs, with their intervals.

Source of the intervals on Fisher's scale: D. G. Bonett and T. A. Wright, "Sample size requirements
for estimating Pearson, Kendall and Spearman correlations", Psychometrika 65 (2000), with the
standard errors ``sqrt((1 + rho^2 / 2) / (n - 3))`` for Spearman's rho and ``sqrt(0.437 / (n - 4))``
for Kendall's tau. It takes pairs for independent; where they are not known to be, the bootstrap of
:func:`spearman_interval` asks less.
"""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import kendalltau, rankdata, spearmanr

from ensembles.errors import UsageError
from ensembles.statistics.bootstrap import percentile_interval
from ensembles.statistics.estimate import Estimate
from ensembles.statistics.shares import normal_quantile

__all__ = ["Coefficient", "coefficient", "rank_correlation", "spearman_interval"]

Coefficient: TypeAlias = Literal["spearman", "kendall"]
_FEWEST = 5


def coefficient(x: ArrayLike, y: ArrayLike, name: Coefficient = "spearman") -> float:
    """Spearman's rho or Kendall's tau-b of pairs.

    Args:
        x: Values, (n,).
        y: Values, (n,).
        name: "spearman" or "kendall".

    Returns:
        -1 to 1; NaN below two pairs, and where one of the two is constant.

    >>> coefficient([1, 2, 3], [1, 4, 9])
    1.0
    """
    one, other = np.asarray(x, float), np.asarray(y, float)
    if len(one) < 2 or (one == one[0]).all() or (other == other[0]).all():
        return float("nan")
    found = spearmanr(one, other) if name == "spearman" else kendalltau(one, other)
    return float(found.statistic)


def rank_correlation(
    x: ArrayLike, y: ArrayLike, name: Coefficient = "spearman", confidence: float = 0.95
) -> Estimate:
    """A rank correlation with its interval on Fisher's scale.

    Args:
        x: Values, (n,).
        y: Values, (n,).
        name: "spearman" or "kendall".
        confidence: Level of confidence.

    Returns:
        NaN as :func:`coefficient`; the interval also below five pairs.

    Raises:
        UsageError: The level is not between 0 and 1.
    """
    one, other = np.asarray(x, float), np.asarray(y, float)
    half_width = normal_quantile(confidence)
    value, n = coefficient(one, other, name), len(one)
    if np.isnan(value) or n < _FEWEST:
        return Estimate(value, np.nan, np.nan)
    variance = (1 + value**2 / 2) / (n - 3) if name == "spearman" else 0.437 / (n - 4)
    inside = np.clip(value, -1 + 1e-12, 1 - 1e-12)
    half = half_width * np.sqrt(variance)
    low, high = np.tanh(np.arctanh(inside) + np.array([-half, half]))
    return Estimate(value, float(low), float(high))


def spearman_interval(
    x: ArrayLike,
    y: ArrayLike,
    seed: int = 0,
    *,
    resamples: int = 1000,
    confidence: float = 0.95,
) -> Estimate:
    """Spearman's rank correlation with a bootstrap interval over pairs.

    A resample in which one of the two is constant counts as no correlation.

    Args:
        x: Values, (n,).
        y: Values, (n,).
        seed: Seed of the random draws.
        resamples: How often the pairs are drawn anew.
        confidence: Level of confidence.

    Returns:
        The correlation and the percentiles of its resamples; NaN as :func:`coefficient`, the
        interval also below five pairs.

    Raises:
        UsageError: The samples differ in size, the level is none, or fewer than 10 resamples.
    """
    one, other = np.asarray(x, float), np.asarray(y, float)
    if one.shape != other.shape:
        raise UsageError(f"{len(one)} values and {len(other)}; expected pairs")
    value = coefficient(one, other)
    if np.isnan(value) or len(one) < _FEWEST:
        return Estimate(value, np.nan, np.nan)
    low, high = percentile_interval(
        [one, other], _spearman, confidence=confidence, resamples=resamples, seed=seed, paired=True
    )
    return Estimate(value, float(low), float(high))


def _spearman(x: NDArray[Any], y: NDArray[Any], axis: int = -1) -> NDArray[np.float64]:
    """Pearson's correlation of ranks along an axis; 0 where one of the two is constant."""
    one, other = (rankdata(values, axis=axis) for values in (x, y))
    one, other = (ranks - ranks.mean(axis, keepdims=True) for ranks in (one, other))
    scale = np.sqrt((one**2).sum(axis) * (other**2).sum(axis))
    along = np.asarray((one * other).sum(axis))
    return np.asarray(np.divide(along, scale, out=np.zeros_like(along), where=scale > 0))
