"""The figure of depth: what a network answers cut short, and what its blocks add."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from string import ascii_lowercase

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ensembles.plots.layout import axes_or_new, make_room, new_figure, panel_letter
from ensembles.plots.style import GREY, legend_above, look, paper_style, save_figure
from ensembles.tables.networks import all_networks, series_labels
from ensembles.tables.schema import require_columns

__all__ = ["curve_by_depth", "plot_depth"]

_LABELS = {
    "kl": "KL(intact || cut short)\n(nats)",
    "overlap": "Overlap of the five\nlikeliest answers",
    "branch_cosine": "Cosine of branch\nand stream",
}


def plot_depth(
    frames: pd.DataFrame | Sequence[pd.DataFrame], path: str | Path | None = None
) -> Figure:
    """Draw divergence, overlap and cosines by block, a curve a network.

    Args:
        frames: Table of ``ensembles.analyze(net, data, "depth")`` of one network, one for each
            network, or one that :func:`ensembles.tables.stack_frames` put together.
        path: File to write (``.png``, ``.pdf`` or ``.svg``); None writes nothing.

    Returns:
        The figure, as wide as a paper's column.

    Raises:
        UsageError: A column is missing, or the file's ending is unknown.
        OutputError: The file cannot be written.
    """
    given = [frames] if isinstance(frames, pd.DataFrame) else list(frames)
    tables = all_networks(given)
    figure, axes = new_figure(len(_LABELS), height=1.9)
    for letter, ax, column in zip(ascii_lowercase, axes, _LABELS, strict=False):
        curve_by_depth(*tables, column=column, ax=ax, legend=ax is axes[0])
        panel_letter(ax, letter)
    figure.align_ylabels(axes)
    make_room(figure, axes)
    if path is not None:
        save_figure(figure, path)
    return figure


def curve_by_depth(
    *frames: pd.DataFrame,
    column: str = "kl",
    ax: Axes | None = None,
    labels: Sequence[str] | None = None,
    colours: Sequence[str] | None = None,
    legend: bool = True,
) -> Axes:
    """One column of tables of depth, by block; bands are its 95 % intervals where there are some.

    Args:
        frames: Table of depth of each network.
        column: What is drawn.
        ax: Axes to draw into; a new figure's where None.
        labels: What the legend calls the networks; by default their models.
        colours: Those of the networks.
        legend: Whether to name the networks.

    Raises:
        UsageError: A column is missing.
    """
    frames = tuple(all_networks(frames, labels))
    for frame in frames:
        require_columns(frame, "block", column)
    with paper_style():
        ax = axes_or_new(ax)
        if column == "branch_cosine":
            ax.axhline(0, color=GREY, linewidth=0.6)
        for index, (frame, label) in enumerate(zip(frames, series_labels(frames), strict=True)):
            style, x = look(index, colours), frame["block"].to_numpy()
            ax.plot(x, frame[column].to_numpy(float), label=label, markersize=2.5, **style.line)
            ends = [frame.get(f"{column}_{end}") for end in ("low", "high")]
            if ends[0] is not None and ends[1] is not None:
                low, high = (np.asarray(one, float) for one in ends)
                ax.fill_between(x, low, high, color=style.colour, alpha=0.2, linewidth=0)
        ax.xaxis.set_major_locator(MaxNLocator(8, integer=True))
        ax.set_xlabel("Cut short after block" if column != "branch_cosine" else "Block")
        ax.set_ylabel(_LABELS.get(column, column))
        if legend:
            legend_above(ax, ax.get_legend_handles_labels()[0])
    return ax
