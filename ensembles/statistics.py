"""Statistics of tables of results: frame in, frame out, nothing drawn."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtri
from scipy.stats import kendalltau, spearmanr

from ensembles.errors import UsageError

__all__ = [
    "error_intervals",
    "rank_correlations",
    "require_columns",
    "summary_by_count",
    "summary_by_tau",
    "wilson_interval",
]

_QUARTILES = {"q1": 0.25, "median": 0.5, "q3": 0.75}


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
    z = _quantile(confidence)
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


def summary_by_count(frame: pd.DataFrame) -> pd.DataFrame:
    """Summarise the errors for each kind of lesion and number of blocks.

    Args:
        frame: Lesions, with the columns ``lesion``, ``count`` and ``error``.

    Returns:
        One row for each ``lesion`` and ``count``, the intact network left out: ``n`` (lesions
        with an error), ``q1``, ``median``, ``q3`` (of the error), ``nonfinite`` (lesions
        without one).

    Raises:
        UsageError: A column is missing.
    """
    require_columns(frame, "lesion", "count", "error")
    lesioned = frame[frame["lesion"] != "none"]
    return _summary(lesioned, ["lesion", "count"])


def summary_by_tau(frame: pd.DataFrame, bins: int = 10) -> pd.DataFrame:
    """Summarise the errors of reorderings by Kendall tau, in bins of equal width.

    Args:
        frame: Lesions, with the columns ``lesion``, ``kendall_tau`` and ``error``.
        bins: Number of bins between the smallest tau and 1.

    Returns:
        One row for each bin that holds a reordering: ``tau_low``, ``tau_high`` (its ends, the
        upper one belongs to it), ``tau`` (median of the taus in it), then as
        :func:`summary_by_count`.

    Raises:
        UsageError: A column is missing, or fewer than one bin.
    """
    require_columns(frame, "lesion", "kendall_tau", "error")
    if bins < 1:
        raise UsageError(f"bins {bins}: expected 1 or more")
    reorders = frame[frame["lesion"] == "reorder"]
    columns = ["tau_low", "tau_high", "tau", "n", *_QUARTILES, "nonfinite"]
    if reorders.empty:
        return pd.DataFrame(columns=columns, dtype=float)
    edges = np.linspace(min(reorders["kendall_tau"].min(), 1 - 1e-9), 1, bins + 1)
    place = np.clip(np.searchsorted(edges, reorders["kendall_tau"]) - 1, 0, bins - 1)
    binned = reorders.assign(bin=place)
    summary = _summary(binned, ["bin"])
    where = summary["bin"].to_numpy()
    return summary.assign(
        tau_low=edges[where],
        tau_high=edges[where + 1],
        tau=binned.groupby("bin")["kendall_tau"].median().to_numpy(),
    )[columns]


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
    if n < 2 or (both == both[0]).all(axis=0).any():
        return np.nan, np.nan, np.nan
    x, y = both.T
    result = spearmanr(x, y) if coefficient == "spearman" else kendalltau(x, y)
    value = float(result.statistic)
    if n < 5:
        return value, np.nan, np.nan
    variance = (1 + value**2 / 2) / (n - 3) if coefficient == "spearman" else 0.437 / (n - 4)
    inside = np.clip(value, -1 + 1e-12, 1 - 1e-12)
    half = _quantile(confidence) * np.sqrt(variance)
    low, high = np.tanh(np.arctanh(inside) + np.array([-half, half]))
    return value, float(low), float(high)


def _summary(frame: pd.DataFrame, keys: list[str]) -> pd.DataFrame:
    errors = frame.groupby(keys, sort=True)["error"]
    summary = pd.DataFrame({"n": errors.count()})
    for name, quantile in _QUARTILES.items():
        summary[name] = errors.quantile(quantile)
    summary["nonfinite"] = errors.size() - errors.count()
    return summary.reset_index()


def _quantile(confidence: float) -> float:
    if not 0 < confidence < 1:
        raise UsageError(f"confidence {confidence}: expected a number between 0 and 1")
    return float(ndtri((1 + confidence) / 2))


def require_columns(frame: pd.DataFrame, *columns: str) -> None:
    """Refuse a table that lacks what is asked of it.

    Raises:
        UsageError: A column is missing.
    """
    missing = [column for column in columns if column not in frame.columns]
    if missing:
        raise UsageError(
            f"table without the column {' and the column '.join(missing)}: expected a table of "
            "lesions, as ensembles.lesion returns or ensembles lesion --out writes it"
        )
