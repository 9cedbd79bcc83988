"""The figure of criticality: what is left of the accuracy, by block."""

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
from ensembles.plots.style import legend_above, look, paper_style
from ensembles.tables.schema import require_columns

__all__ = ["plot_criticality", "recovered_by_block"]


def plot_criticality(
    frames: pd.DataFrame | Sequence[pd.DataFrame], path: str | Path | None = None
) -> Figure:
    """Draw what is left of the accuracy, by block, a panel a network.

    Args:
        frames: Table of ``ensembles.analyze(net, data, "criticality")`` of one network, one for
            each network, or one that :func:`ensembles.tables.stack_frames` put together.
        path: File to write (``.png``, ``.pdf`` or ``.svg``); None writes nothing.

    Returns:
        The figure, as wide as a paper's column.

    Raises:
        UsageError: A column is missing, or the file's ending is unknown.
        OutputError: The file cannot be written.
    """
    return network_panels(frames, lambda frame, ax: recovered_by_block(frame, ax=ax), path)


def recovered_by_block(
    frame: pd.DataFrame,
    *,
    ax: Axes | None = None,
    colours: Sequence[str] | None = None,
    legend: bool = True,
) -> Axes:
    """Accuracy over that of the intact network, by block, a curve for each variant.

    Whiskers: 95 % interval, paired over rows of the data.

    Args:
        frame: A table of criticality of one network.
        ax: Axes to draw into; a new figure's where None.
        colours: Those of the curves, in the order of the legend.
        legend: Whether to draw one.

    Raises:
        UsageError: A column is missing.
    """
    require_columns(frame, "block", "variant", "recovered", "recovered_low", "recovered_high")
    with paper_style():
        ax = axes_or_new(ax)
        for index, (name, rows) in enumerate(frame.groupby("variant", sort=False)):
            style, y = look(index, colours), rows["recovered"].to_numpy(float)
            low, high = (rows[f"recovered_{end}"].to_numpy(float) for end in ("low", "high"))
            ends = [np.nan_to_num((y - low).clip(min=0)), np.nan_to_num((high - y).clip(min=0))]
            ax.errorbar(
                rows["block"], y, ends, label=str(name), elinewidth=0.5, markersize=2.5,
                **style.line,
            )  # fmt: skip
        ax.set_ylim(bottom=0)
        ax.xaxis.set_major_locator(MaxNLocator(8, integer=True))
        ax.set_xlabel("Block")
        ax.margins(x=0.02)
        ax.set_ylabel("Accuracy over that of\nthe intact network")
        if legend:
            legend_above(ax, ax.get_legend_handles_labels()[0])
    return ax
