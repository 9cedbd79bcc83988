"""Tests of hypotheses on counts and on samples.

Sources:
    Q. McNemar, Psychometrika 12 (1947); A. L. Edwards, Psychometrika 13 (1948) for the continuity
    correction; S. Holm, Scandinavian Journal of Statistics 6 (1979); H. B. Mann and D. R. Whitney,
    Annals of Mathematical Statistics 18 (1947); A. Vargha and H. D. Delaney, Journal of Educational
    and Behavioral Statistics 25 (2000) for the probability of superiority.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import binom, chi2, mannwhitneyu

from ensembles.errors import UsageError

__all__ = ["RankTest", "holm", "mann_whitney", "mcnemar"]

_EXACT_BELOW = 25
Array = NDArray[np.float64]


class RankTest(NamedTuple):
    """What Mann and Whitney's test found.

    Attributes:
        probability: That a value of the first sample exceeds one of the second; ties count half.
        p_value: One-sided, against the hypothesis that it does not.
    """

    probability: float
    p_value: float


def mann_whitney(first: ArrayLike, second: ArrayLike) -> RankTest:
    """Test whether values of the first sample tend to be larger than those of the second.

    Args:
        first: Values, (n,).
        second: Values, (m,).

    Raises:
        UsageError: A sample is empty.

    >>> mann_whitney([5.0, 6.0], [1.0, 2.0, 5.0]).probability
    0.9166666666666666
    """
    one, other = np.asarray(first, float), np.asarray(second, float)
    if not len(one) or not len(other):
        raise UsageError("a rank test of an empty sample; expected one value or more in each")
    test = mannwhitneyu(one, other, alternative="greater")
    return RankTest(float(test.statistic) / (len(one) * len(other)), float(test.pvalue))


def mcnemar(first: ArrayLike, second: ArrayLike) -> tuple[Array, NDArray[np.bool_]]:
    """McNemar's test of paired answers, two-sided.

    Args:
        first: Observations that one of two networks alone gets right, any shape.
        second: Those that the other alone gets right.

    Returns:
        P values, exact (binomial) where fewer than 25 observations differ, else by the chi-squared
        distribution with continuity correction; and which of them are exact.
    """
    b, c = np.asarray(first), np.asarray(second)
    differ = b + c
    exact = differ < _EXACT_BELOW
    tail = np.minimum(1, 2 * binom.cdf(np.minimum(b, c), differ, 0.5))
    statistic = np.maximum(np.abs(b - c) - 1, 0) ** 2 / np.maximum(differ, 1)
    return np.where(exact, tail, chi2.sf(statistic, 1)), exact


def holm(p_values: ArrayLike) -> Array:
    """Adjust p values for their number: Holm's step-down, valid under any dependence.

    Args:
        p_values: P values, (n,).

    >>> holm([0.01, 0.04, 0.03]).round(2).tolist()
    [0.03, 0.06, 0.06]
    """
    given = np.asarray(p_values, float)
    order = np.argsort(given, kind="stable")
    steps = given[order] * np.arange(len(given), 0, -1)
    adjusted = np.empty_like(given)
    adjusted[order] = np.minimum(np.maximum.accumulate(steps), 1)
    return adjusted
