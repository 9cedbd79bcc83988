"""Medians and quartiles of the errors of many lesions."""

from __future__ import annotations

import numpy as np
import pandas as pd

from ensembles.errors import UsageError
from ensembles.statistics.tables import require_columns

__all__ = ["summary_by_count", "summary_by_tau"]

_QUARTILES = {"q1": 0.25, "median": 0.5, "q3": 0.75}


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


def _summary(frame: pd.DataFrame, keys: list[str]) -> pd.DataFrame:
    errors = frame.groupby(keys, sort=True)["error"]
    summary = pd.DataFrame({"n": errors.count()})
    for name, quantile in _QUARTILES.items():
        summary[name] = errors.quantile(quantile)
    summary["nonfinite"] = errors.size() - errors.count()
    return summary.reset_index()
