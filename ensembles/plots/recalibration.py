"""The figure of recalibration: damage with trained and with new statistics, block by block."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ensembles.plots.layout import axes_or_new
from ensembles.plots.network_panels import network_panels
from ensembles.plots.style import DOTTED, GREY, legend_above, look, paper_style
from ensembles.tables.schema import require_columns

__all__ = ["damage_recalibrated", "plot_recalibration"]


def plot_recalibration(
    frames: pd.DataFrame | Sequence[pd.DataFrame], path: str | Path | None = None
) -> Figure:
    """Draw the error of each lesioned block before and after recalibration, a panel a network.

    Args:
        frames: Table of ``ensembles.analyze(net, data, "recalibration")`` of one network, one for
            each network, or one that :func:`ensembles.tables.stack_frames` put together.
        path: File to write (``.png``, ``.pdf`` or ``.svg``); None writes nothing.

    Returns:
        The figure, as wide as a paper's column.

    Raises:
        UsageError: A column is missing, or the file's ending is unknown.
        OutputError: The file cannot be written.
    """
    return network_panels(frames, lambda frame, ax: damage_recalibrated(frame, ax=ax), path)


def damage_recalibrated(
    frame: pd.DataFrame,
    *,
    ax: Axes | None = None,
    colours: Sequence[str] | None = None,
    legend: bool = True,
) -> Axes:
    """Error of each lesioned block with trained statistics, and with recalibrated ones.

    Whiskers: 95 % interval of the difference, paired over rows of the data, drawn at the
    recalibrated network.

    Args:
        frame: A table of recalibration of one network.
        ax: Axes to draw into; a new figure's where None.
        colours: Those of the curves, in the order of the legend.
        legend: Whether to draw one.

    Raises:
        UsageError: A column is missing.
    """
    require_columns(
        frame, "block", "error", "error_recalibrated", "error_gain_low", "error_gain_high"
    )
    with paper_style():
        ax = axes_or_new(ax)
        x, before = frame["block"].to_numpy(), frame["error"].to_numpy(float)
        after = frame["error_recalibrated"].to_numpy(float)
        ax.vlines(x, before, after, color=GREY, linewidth=0.6)
        ax.plot(
            x,
            before,
            linestyle="",
            marker="o",
            color=look(0, colours).colour,
            label="trained BatchNorm",
        )
        ends = before - frame["error_gain_high"], before - frame["error_gain_low"]
        around = [np.clip(after - ends[0], 0, None), np.clip(ends[1] - after, 0, None)]
        ax.errorbar(
            x, after, around, fmt="s", color=look(1, colours).colour, elinewidth=0.6, markersize=3,
            label="recalibrated",
        )  # fmt: skip
        intact = frame.attrs.get("intact_error")
        if intact is not None:
            ax.axhline(intact, color=GREY, linewidth=0.8, linestyle=DOTTED, label="intact")
        ax.set_ylim(bottom=0)
        ax.xaxis.set_major_locator(MaxNLocator(8, integer=True))
        ax.set_xlabel("Lesioned block")
        ax.margins(x=0.02)
        ax.set_ylabel("Error")
        if legend:
            legend_above(ax, ax.get_legend_handles_labels()[0])
    return ax
