"""An axis of rises of the loss, which span orders of magnitude and may be negative."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from matplotlib.axes import Axes

from ensembles.plots.style import GREY

__all__ = ["RISE", "rise_axis"]

RISE = "Rise of the loss (nats)"
_SMALL = 0.01  # of a rise of the loss, below which the axis is linear


def rise_axis(ax: Axes, values: Iterable[float]) -> None:
    """Make the y axis linear around nought and logarithmic far from it, with a line at nought.

    Args:
        ax: The axes.
        values: What is drawn.
    """
    drawn = np.abs(np.asarray(list(values), float))
    if drawn.size and np.nanmax(drawn) > 2 * _SMALL:
        ax.set_yscale("symlog", linthresh=_SMALL)
    ax.axhline(0, color=GREY, linewidth=0.6)
