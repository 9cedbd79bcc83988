"""Rank correlations: of the error with the size of a lesion, and of two curves with each other."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import kendalltau, spearmanr

from ensembles.errors import UsageError
from ensembles.statistics.intervals import normal_quantile
from ensembles.statistics.resampling import percentile_interval
from ensembles.statistics.tables import require_columns

__all__ = ["curve_correlations", "rank_correlations"]


def rank_correlations(frame: pd.DataFrame, confidence: float = 0.95) -> pd.DataFrame:
    """Rank correlations of the error with the size of the lesion.

    The size is the number of blocks, and for reorderings also Kendall tau of their order.
    The intervals are Fisher's, with the standard errors on his scale of Bonett and Wright
    ("Sample size requirements for estimating Pearson, Kendall and Spearman correlations",
    Psychometrika 65, 2000): ``sqrt((1 + rho^2 / 2) / (n - 3))`` for Spearman's rho and
    ``sqrt(0.437 / (n - 4))`` for Kendall's tau.

    Args:
        frame: Lesions, with the columns ``lesion``, ``count``, ``kendall_tau`` and ``error``.
        confidence: Level of confidence.

    Returns:
        One row for each kind of lesion, variable and coefficient: ``lesion``, ``variable``
        (``count`` or ``kendall_tau``), ``coefficient`` (``spearman`` or ``kendall``),
        ``value``, ``low``, ``high``, ``n``. NaN where the variable or the error is constant,
        and for the interval below 5 lesions.

    Raises:
        UsageError: A column is missing.
    """
    require_columns(frame, "lesion", "count", "kendall_tau", "error")
    rows = []
    for kind, group in frame[frame["lesion"] != "none"].groupby("lesion", sort=False):
        for variable in ("count", "kendall_tau") if kind == "reorder" else ("count",):
            both = group[[variable, "error"]].dropna().to_numpy(float)
            for coefficient in ("spearman", "kendall"):
                value, low, high = _correlation(both, coefficient, confidence)
                rows.append((kind, variable, coefficient, value, low, high, len(both)))
    columns = ["lesion", "variable", "coefficient", "value", "low", "high", "n"]
    return pd.DataFrame(rows, columns=columns)


def _correlation(
    both: NDArray[np.float64], coefficient: str, confidence: float
) -> tuple[float, float, float]:
    n = len(both)
    x, y = both.T
    value = _coefficient(x, y, coefficient)
    if np.isnan(value):
        return np.nan, np.nan, np.nan
    if n < 5:
        return value, np.nan, np.nan
    variance = (1 + value**2 / 2) / (n - 3) if coefficient == "spearman" else 0.437 / (n - 4)
    inside = np.clip(value, -1 + 1e-12, 1 - 1e-12)
    half = normal_quantile(confidence) * np.sqrt(variance)
    low, high = np.tanh(np.arctanh(inside) + np.array([-half, half]))
    return value, float(low), float(high)


def curve_correlations(
    first: pd.DataFrame,
    second: pd.DataFrame,
    *,
    confidence: float = 0.95,
    resamples: int = 1000,
    seed: int = 0,
) -> pd.DataFrame:
    """Rank correlation of two curves of single deletions: do two networks need the same blocks?

    Blocks are matched by their number, and resampled in pairs for the interval (percentiles of
    ``scipy.stats.bootstrap``). A resample in which a curve is constant counts as no correlation.

    Args:
        first: Lesions, with the columns ``lesion``, ``count``, ``blocks`` and ``error``; only the
            deletions of single blocks are used.
        second: Those of another network, or of another data set, seed or precision.
        confidence: Level of confidence.
        resamples: How often the blocks are drawn anew.
        seed: Of those draws.

    Returns:
        A row each for ``spearman`` and ``kendall`` (tau-b): ``coefficient``, ``value``, ``low``,
        ``high``, ``n`` (blocks that both have). NaN where a curve is constant, and for the interval
        below 5 blocks.

    Raises:
        UsageError: A column is missing, or a table lacks deletions of single blocks, or
            holds two of one.
    """
    joined = pd.concat([_curve(first, "first"), _curve(second, "second")], axis=1, join="inner")
    x, y = joined.dropna().to_numpy(float).T
    rows = []
    for coefficient in ("spearman", "kendall"):
        value = _coefficient(x, y, coefficient)
        low, high = np.nan, np.nan
        if len(x) >= 5 and not np.isnan(value):
            low, high = percentile_interval(
                [x, y],
                lambda a, b, kind=coefficient: np.nan_to_num(_coefficient(a, b, kind)),
                confidence=confidence,
                resamples=resamples,
                seed=seed,
                paired=True,
                vectorized=False,
            )
        rows.append((coefficient, value, float(low), float(high), len(x)))
    return pd.DataFrame(rows, columns=["coefficient", "value", "low", "high", "n"])


def _curve(frame: pd.DataFrame, which: str) -> pd.Series[Any]:
    require_columns(frame, "lesion", "count", "blocks", "error")
    single = frame[(frame["lesion"] == "delete") & (frame["count"] == 1)]
    if single.empty:
        raise UsageError(f"the {which} table holds no deletion of a single block; expected some")
    curve = single.assign(block=single["blocks"].astype(int)).set_index("block")["error"]
    if not curve.index.is_unique:
        raise UsageError(
            f"the {which} table holds two deletions of one block; expected those of one network"
        )
    return curve.rename(which)


def _coefficient(x: NDArray[np.float64], y: NDArray[np.float64], kind: str) -> float:
    if len(x) < 2 or (x == x[0]).all() or (y == y[0]).all():
        return np.nan
    result = spearmanr(x, y) if kind == "spearman" else kendalltau(x, y)
    return float(result.statistic)
