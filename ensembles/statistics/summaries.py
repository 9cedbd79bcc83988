"""Medians and quartiles of a measure of many lesions."""

from __future__ import annotations

import numpy as np
import pandas as pd

from ensembles.errors import UsageError
from ensembles.statistics.quantiles import equal_bins, fixed_bins, quartiles_by_bin
from ensembles.tables.networks import by_network
from ensembles.tables.readings import lesioned
from ensembles.tables.schema import require_columns

__all__ = ["reorderings", "summary_by_count", "summary_by_tau", "summary_by_tau_step"]

_QUARTILES = ("n", "q1", "median", "q3")


@by_network
def summary_by_count(frame: pd.DataFrame, column: str = "error") -> pd.DataFrame:
    """Summarise a measure for each kind of lesion and size.

    Args:
        frame: Lesions, with the columns ``lesion``, ``count`` and the measure.
        column: The measure.

    Returns:
        One row for each ``lesion`` and ``count``, the intact network left out: ``n`` (lesions that
        have the measure), ``q1``, ``median``, ``q3`` (of the measure), ``nonfinite`` (lesions
        without it); of several networks, after a column ``network``.

    Raises:
        UsageError: A column is missing.
    """
    require_columns(frame, "lesion", "count", column)
    parts = []
    for kind, group in lesioned(frame).groupby("lesion", sort=True):
        found = quartiles_by_bin(group[column], group["count"])
        part = pd.DataFrame(found._asdict())
        part.insert(0, "lesion", pd.Series([kind] * len(part), dtype="str"))
        parts.append(part.rename(columns={"bin": "count", "missing": "nonfinite"}))
    if parts:
        return pd.concat(parts, ignore_index=True)
    return pd.DataFrame(columns=["lesion", "count", *_QUARTILES, "nonfinite"])


@by_network
def summary_by_tau(frame: pd.DataFrame, bins: int = 10, column: str = "error") -> pd.DataFrame:
    """Summarise a measure of reorderings by Kendall tau, in bins of equal width.

    Args:
        frame: Lesions, with the columns ``lesion``, ``kendall_tau`` and the measure; those that
            have no tau are left out.
        bins: Number of bins between the smallest tau and 1.
        column: The measure.

    Returns:
        One row for each bin that holds a reordering: ``tau_low``, ``tau_high`` (its ends, the
        upper one belongs to it), ``tau`` (median of the taus in it), then as
        :func:`summary_by_count`.

    Raises:
        UsageError: A column is missing, or fewer than one bin.
    """
    require_columns(frame, "lesion", "kendall_tau", column)
    if bins < 1:
        raise UsageError(f"bins {bins}: expected 1 or more")
    chosen = reorderings(frame)
    columns = ["tau_low", "tau_high", "tau", *_QUARTILES, "nonfinite"]
    if chosen.empty:
        return pd.DataFrame(columns=columns, dtype=float)
    taus = chosen["kendall_tau"].to_numpy(float)
    places, edges = equal_bins(taus, bins, 1.0)
    found = quartiles_by_bin(chosen[column], places)
    table = pd.DataFrame(found._asdict()).rename(columns={"missing": "nonfinite"})
    return table.assign(
        tau_low=edges[found.bin],
        tau_high=edges[found.bin + 1],
        tau=quartiles_by_bin(taus, places).median,
    )[columns]


@by_network
def summary_by_tau_step(
    frame: pd.DataFrame, step: float = 0.025, column: str = "error"
) -> pd.DataFrame:
    """Summarise a measure of reorderings in bins of Kendall tau that are alike for all tables.

    The bins end at 1, 1 - step, 1 - 2 step, ...; the upper end belongs to a bin.

    Args:
        frame: As for :func:`summary_by_tau`.
        step: Width of a bin.
        column: The measure.

    Returns:
        One row for each bin that holds a reordering, tau falling: ``tau`` (middle of the bin),
        ``n``, ``q1``, ``median``, ``q3``.

    Raises:
        UsageError: A column is missing, or the width is not above 0.
    """
    require_columns(frame, "lesion", "kendall_tau", column)
    chosen = reorderings(frame)
    found = quartiles_by_bin(chosen[column], fixed_bins(chosen["kendall_tau"], step))
    middle = np.round(1 - (found.bin + 0.5) * step, 9)
    return pd.DataFrame({"tau": middle} | {name: getattr(found, name) for name in _QUARTILES})


def reorderings(frame: pd.DataFrame) -> pd.DataFrame:
    """The lesions in which blocks only change places: those with a Kendall tau."""
    cut = lesioned(frame)
    return cut[cut["kendall_tau"].notna()]
