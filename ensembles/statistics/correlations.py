"""Rank correlations of tables: of a measure with the size of a lesion, of two curves."""

from __future__ import annotations

from typing import Any, get_args

import numpy as np
import pandas as pd

from ensembles.errors import UsageError
from ensembles.statistics.bootstrap import percentile_interval
from ensembles.statistics.ranks import Coefficient, coefficient, rank_correlation
from ensembles.tables.networks import by_network, one_network
from ensembles.tables.readings import lesioned, texts
from ensembles.tables.schema import require_columns

__all__ = ["curve_correlations", "rank_correlations"]

_COEFFICIENTS: tuple[Coefficient, ...] = get_args(Coefficient)


@by_network
def rank_correlations(
    frame: pd.DataFrame, confidence: float = 0.95, column: str = "error"
) -> pd.DataFrame:
    """Rank correlations of a measure with the size of the lesion.

    The size is the count, and for kinds that only change the order also Kendall tau. The intervals
    are those of :func:`ensembles.statistics.rank_correlation`.

    Args:
        frame: Lesions, with the columns ``lesion``, ``count``, ``kendall_tau`` and the measure.
        confidence: Level of confidence.
        column: The measure.

    Returns:
        One row for each kind of lesion, variable and coefficient: ``lesion``, ``variable``
        (``count`` or ``kendall_tau``), ``coefficient`` (``spearman`` or ``kendall``),
        ``value``, ``low``, ``high``, ``n``. NaN where the variable or the measure is constant,
        and for the interval below 5 lesions.

    Raises:
        UsageError: A column is missing.
    """
    require_columns(frame, "lesion", "count", "kendall_tau", column)
    rows = []
    for kind, group in lesioned(frame).groupby("lesion", sort=False):
        ordered = group["kendall_tau"].notna().any()
        for variable in ("count", "kendall_tau") if ordered else ("count",):
            x, y = group[[variable, column]].dropna().to_numpy(float).T
            for one in _COEFFICIENTS:
                found = rank_correlation(x, y, one, confidence)
                rows.append((kind, variable, one, *found, len(x)))
    columns = ["lesion", "variable", "coefficient", "value", "low", "high", "n"]
    return pd.DataFrame(rows, columns=columns)


def curve_correlations(
    first: pd.DataFrame,
    second: pd.DataFrame,
    *,
    kind: str = "delete",
    column: str = "error",
    confidence: float = 0.95,
    resamples: int = 1000,
    seed: int = 0,
) -> pd.DataFrame:
    """Rank correlation of two curves of single lesions: do two networks need the same blocks?

    Blocks are matched by their number, and resampled in pairs for the interval (percentiles of
    the bootstrap). A resample in which a curve is constant counts as no correlation.

    Args:
        first: Lesions, with the columns ``lesion``, ``count``, ``blocks`` and the measure; only
            those of single blocks and of the kind are used.
        second: Those of another network, or of another data set, seed or precision.
        kind: The kind of lesion.
        column: The measure.
        confidence: Level of confidence.
        resamples: How often the blocks are drawn anew.
        seed: Seed of the random draws.

    Returns:
        A row each for ``spearman`` and ``kendall`` (tau-b): ``coefficient``, ``value``, ``low``,
        ``high``, ``n`` (blocks that both have). NaN where a curve is constant, and for the interval
        below 5 blocks.

    Raises:
        UsageError: A column is missing, or a table lacks lesions of single blocks, or
            holds two of one.
    """
    curves = [_curve(first, "first", kind, column), _curve(second, "second", kind, column)]
    x, y = pd.concat(curves, axis=1, join="inner").dropna().to_numpy(float).T
    rows = []
    for one in _COEFFICIENTS:
        value = coefficient(x, y, one)
        low, high = np.nan, np.nan
        if len(x) >= 5 and not np.isnan(value):
            low, high = percentile_interval(
                [x, y],
                lambda a, b, one=one: np.nan_to_num(coefficient(a, b, one)),
                confidence=confidence,
                resamples=resamples,
                seed=seed,
                paired=True,
                vectorized=False,
            )
        rows.append((one, value, float(low), float(high), len(x)))
    return pd.DataFrame(rows, columns=["coefficient", "value", "low", "high", "n"])


def _curve(frame: pd.DataFrame, which: str, kind: str, column: str) -> pd.Series[Any]:
    require_columns(frame, "lesion", "count", "blocks", column)
    frame = one_network(frame, f"the {which} curve")
    single = frame[(frame["lesion"] == kind) & (frame["count"] == 1)]
    if single.empty:
        raise UsageError(f"the {which} table holds no {kind} of a single block; expected some")
    curve = single[column].set_axis(texts(single["blocks"]))
    if not curve.index.is_unique:
        raise UsageError(
            f"the {which} table holds two lesions of one block; expected those of one network"
        )
    return curve.rename(which)
