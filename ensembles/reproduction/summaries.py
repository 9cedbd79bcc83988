"""Quartiles of the error by the size of a lesion, binned alike for ours and the published."""

from __future__ import annotations

import numpy as np
import pandas as pd

from ensembles.statistics import summary_by_count

__all__ = ["TAU_STEP", "by_count", "by_tau", "largest_step", "tau_bins"]

TAU_STEP = 0.025


def by_count(frame: pd.DataFrame) -> pd.DataFrame:
    """Quartiles of the error for each number of blocks (or swaps) of one kind of lesion.

    Args:
        frame: Lesions of one kind, and possibly the intact network.

    Returns:
        Columns ``count``, ``n``, ``q1``, ``median``, ``q3``.
    """
    return summary_by_count(frame)[["count", "n", "q1", "median", "q3"]]


def by_tau(frame: pd.DataFrame, step: float = TAU_STEP) -> pd.DataFrame:
    """Quartiles of the error of reorderings in bins of Kendall tau with fixed ends.

    The bins end at 1, 1 - step, 1 - 2 step, ...; the upper end belongs to a bin.

    Args:
        frame: Lesions; those that are no reorderings are left out.
        step: Width of a bin.

    Returns:
        One row for each bin that holds a reordering, tau falling: ``tau`` (middle of the bin),
        ``n``, ``q1``, ``median``, ``q3``.
    """
    reorders = frame[frame["lesion"] == "reorder"]
    errors = reorders.groupby(tau_bins(reorders, step))["error"]
    table = pd.DataFrame({"n": errors.count()})
    for name, level in {"q1": 0.25, "median": 0.5, "q3": 0.75}.items():
        table[name] = errors.quantile(level)
    middle = 1 - (table.index.to_numpy(float) + 0.5) * step
    table.insert(0, "tau", np.round(middle, 9))
    return table.reset_index(drop=True)


def tau_bins(frame: pd.DataFrame, step: float = TAU_STEP) -> pd.Series[float]:
    """Number of the bin of Kendall tau that each reordering falls into, from 0 at tau 1."""
    places = np.floor(np.round((1 - frame["kendall_tau"].to_numpy(float)) / step, 9))
    return pd.Series(places, index=frame.index)


def largest_step(medians: pd.Series[float]) -> float:
    """The largest rise from one median to the next, as a share of the whole rise.

    Args:
        medians: In the order of the size of the lesion.

    Returns:
        At most 1 for a curve that only rises; NaN where it does not rise at all.

    >>> largest_step(pd.Series([0.1, 0.2, 0.5, 0.6]))
    0.6
    """
    values = medians.dropna().to_numpy(float)
    rise = values[-1] - values[0] if len(values) > 1 else 0.0
    return float(np.round(np.diff(values).max() / rise, 9)) if rise > 0 else float("nan")
