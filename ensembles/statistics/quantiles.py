"""Quartiles of values in bins, and how smoothly their medians rise."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from ensembles.errors import UsageError

__all__ = ["Quartiles", "equal_bins", "fixed_bins", "largest_step", "quartiles_by_bin"]

Array = NDArray[np.float64]


class Quartiles(NamedTuple):
    """Quartiles of the values in each bin, one entry a bin that holds some, bins rising.

    Attributes:
        bin: The bins.
        n: How many values that are numbers each holds.
        q1: First quartiles; NaN where a bin holds none.
        median: Medians.
        q3: Third quartiles.
        missing: How many values that are NaN each holds.
    """

    bin: NDArray[np.integer[Any]]
    n: NDArray[np.integer[Any]]
    q1: Array
    median: Array
    q3: Array
    missing: NDArray[np.integer[Any]]


def quartiles_by_bin(values: ArrayLike, bins: ArrayLike) -> Quartiles:
    """Quartiles of the values in each bin, by linear interpolation.

    Args:
        values: Values, (n,); NaN is counted apart.
        bins: The bin of each, whole numbers, (n,).

    >>> found = quartiles_by_bin([1.0, 2.0, 3.0, 7.0], [0, 0, 0, 5])
    >>> found.bin.tolist(), found.median.tolist()
    ([0, 5], [2.0, 7.0])
    """
    places = np.asarray(bins, np.int64)
    groups = pd.Series(np.asarray(values, float)).groupby(places, sort=True)
    counts, sizes = groups.count(), groups.size()
    q1, median, q3 = (groups.quantile(level).to_numpy(float) for level in (0.25, 0.5, 0.75))
    return Quartiles(
        sizes.index.to_numpy(np.int64),
        counts.to_numpy(np.int64),
        q1,
        median,
        q3,
        (sizes - counts).to_numpy(np.int64),
    )


def equal_bins(values: ArrayLike, count: int, top: float) -> tuple[NDArray[np.int64], Array]:
    """Bins of equal width between the smallest value and a top; an upper end belongs to its bin.

    Args:
        values: Values up to ``top``, (n,), one or more.
        count: Number of bins.
        top: The upper end of the last bin.

    Returns:
        The bin of each value, from 0, and the ends of all bins, (count + 1,).

    Raises:
        UsageError: Fewer than one bin.
    """
    if count < 1:
        raise UsageError(f"bins {count}: expected 1 or more")
    known = np.asarray(values, float)
    edges = np.linspace(min(known.min(), top - 1e-9), top, count + 1)
    return np.clip(np.searchsorted(edges, known) - 1, 0, count - 1), edges


def fixed_bins(values: ArrayLike, step: float, top: float = 1.0) -> NDArray[np.int64]:
    """Bins of a fixed width that fall from a top: of tables that are held against each other.

    The bins end at top, top - step, top - 2 step, ...; the upper end belongs to a bin.

    Args:
        values: Values up to ``top``, (n,).
        step: Width of a bin.
        top: The upper end of bin 0.

    Returns:
        The bin of each value, from 0 at the top.

    Raises:
        UsageError: The width is not above 0.

    >>> fixed_bins([1.0, 0.99, 0.97], 0.025).tolist()
    [0, 0, 1]
    """
    if not step > 0:
        raise UsageError(f"bins of width {step}: expected more than 0")
    return np.floor(np.round((top - np.asarray(values, float)) / step, 9)).astype(np.int64)


def largest_step(values: ArrayLike) -> float:
    """The largest rise from one value to the next, as a share of the whole rise.

    Args:
        values: In the order of what they depend on, (n,); NaN is left out.

    Returns:
        At most 1 for a curve that only rises; NaN where it does not rise at all.

    >>> largest_step([0.1, 0.2, 0.5, 0.6])
    0.6
    """
    known = np.asarray(values, float)
    known = known[~np.isnan(known)]
    rise = known[-1] - known[0] if len(known) > 1 else 0.0
    return float(np.round(np.diff(known).max() / rise, 9)) if rise > 0 else float("nan")
