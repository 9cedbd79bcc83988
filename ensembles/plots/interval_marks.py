"""Intervals of a column, whose ends stand in columns beside it: as a band, and as whiskers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.patches import Patch
from numpy.typing import NDArray

from ensembles.plots.style import GREY, tint

__all__ = ["band_entry", "interval_band", "interval_whiskers"]


def interval_band(ax: Axes, x: Any, frame: pd.DataFrame, column: str, colour: str) -> bool:
    """Shade what lies between ``column_low`` and ``column_high``.

    Args:
        ax: Axes.
        x: Where the rows stand.
        frame: The table.
        column: The column.
        colour: That of its curve.

    Returns:
        Whether the table has both ends.
    """
    ends = [frame.get(f"{column}_{end}") for end in ("low", "high")]
    if ends[0] is None or ends[1] is None:
        return False
    low, high = (np.asarray(one, float) for one in ends)
    ax.fill_between(x, low, high, color=colour, alpha=0.2, linewidth=0)
    return True


def interval_whiskers(frame: pd.DataFrame, column: str) -> list[NDArray[np.float64]]:
    """How far ``column_low`` lies below a column and ``column_high`` above; 0 where unknown."""
    value, low, high = (frame[f"{column}{end}"].to_numpy(float) for end in ("", "_low", "_high"))
    return [np.nan_to_num((value - low).clip(min=0)), np.nan_to_num((high - value).clip(min=0))]


def band_entry(label: str = "95% interval") -> Patch:
    """The entry of a legend that says what bands are."""
    return Patch(facecolor=tint(GREY), linewidth=0, label=label)
