"""Whether the damage of joint lesions is the sum of that of single ones, by number of blocks."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ensembles.errors import UsageError
from ensembles.statistics.ranks import coefficient, spearman_interval
from ensembles.tables.networks import by_network, require_once
from ensembles.tables.readings import read_rows
from ensembles.tables.schema import require_columns

__all__ = ["additive_by_size", "additive_deletions"]

Array = NDArray[np.float64]
FEWEST = 8
"""Sets of one size that are told of apart."""


def additive_by_size(
    sizes: NDArray[np.int64], measured: Array, predicted: Array
) -> list[dict[str, Any]]:
    """How far the sum of single rises is that of a set, by the size of the set.

    Args:
        sizes: Blocks in each set, (sets,).
        measured: The rise of each set.
        predicted: The sum of the rises of its blocks.

    Returns:
        A row for all sets, and one for each size of 8 sets or more: ``blocks`` ("all" or the size),
        ``sets``, ``measured`` and ``predicted`` (means), ``spearman`` of the two with ``low`` and
        ``high``, and ``r2`` = 1 - (squared misses) / (squared spread), which is negative where the
        mean would be a better guess; None where there is no such number. Sets with a rise that is
        not finite are left out.
    """
    fine = np.isfinite(measured) & np.isfinite(predicted)
    rows = []
    for size in (None, *sorted(set(sizes.tolist()))):
        kept = fine & (sizes == size) if size is not None else fine
        if kept.sum() < FEWEST:
            continue
        x, y = predicted[kept], measured[kept]
        ends = spearman_interval(x, y)
        spread = float(((y - y.mean()) ** 2).sum())
        rows.append(
            {
                "blocks": "all" if size is None else str(size),
                "sets": int(kept.sum()),
                "measured": float(y.mean()),
                "predicted": float(x.mean()),
                "spearman": _known(coefficient(x, y)),
                "low": _known(ends.low),
                "high": _known(ends.high),
                "r2": _known(1 - float(((y - x) ** 2).sum()) / spread) if spread else None,
            }
        )
    return rows


@by_network
def additive_deletions(frame: pd.DataFrame, value: str = "error") -> pd.DataFrame:
    """The same for the deletions of a table of lesions.

    Args:
        frame: Lesions, with the intact network and every single deletion among them.
        value: The column that rises.

    Returns:
        The rows of :func:`additive_by_size` as a table; sets with a block whose own deletion is not
        in the table are left out. Of several networks, after a column ``network``.

    Raises:
        UsageError: A column or the intact network is missing, or the table holds a block's own
            deletion twice.
    """
    require_columns(frame, "lesion", "count", "blocks", value)
    deleted = frame[frame["lesion"] == "delete"]
    require_once(deleted[deleted["count"] == 1], ("lesion", "blocks"))
    intact = frame.loc[frame["lesion"] == "none", value]
    if intact.empty:
        raise UsageError("table without the intact network: expected a row of the lesion none")
    rises = deleted[value] - intact.mean()
    read = [
        (one.blocks, rise)
        for one, rise in zip(read_rows(deleted), rises.to_numpy(float), strict=True)
    ]
    single = {blocks[0]: rise for blocks, rise in read if len(blocks) == 1}
    joint = [(blocks, rise) for blocks, rise in read if len(blocks) > 1]
    predicted = [sum(single.get(block, math.nan) for block in blocks) for blocks, _ in joint]
    rows = additive_by_size(
        np.array([len(blocks) for blocks, _ in joint], np.int64),
        np.array([rise for _, rise in joint], float),
        np.array(predicted, float),
    )
    return pd.DataFrame(rows)


def _known(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
