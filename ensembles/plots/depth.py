"""The figure of depth: what a network answers cut short, and what its blocks add."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ensembles.plots.interval_marks import band_entry, interval_band
from ensembles.plots.layout import Panel, axes_or_new, draw_panels
from ensembles.plots.measures import counted
from ensembles.plots.style import GREY, legend_above, look, paper_style
from ensembles.tables.networks import all_networks, series_labels
from ensembles.tables.schema import require_columns

__all__ = ["curve_by_depth", "plot_depth"]

_LABELS = {
    "kl": "KL(intact || cut short)\n(nats)",
    "overlap": "Overlap of the five\nlikeliest answers",
    "branch_cosine": "Cosine of branch\nand stream",
}


def plot_depth(
    frames: pd.DataFrame | Sequence[pd.DataFrame],
    path: str | Path | None = None,
    *,
    axes: Sequence[Axes] | None = None,
    labels: Sequence[str] | None = None,
    colours: Sequence[str] | None = None,
    legend: bool = True,
) -> Figure:
    """Draw divergence, overlap and cosines by block, a curve a network.

    Args:
        frames: Table of ``ensembles.analyze(net, data, "depth")`` of one network, one for each
            network, or one that :func:`ensembles.tables.stack_frames` put together.
        path: File to write (``.png``, ``.pdf`` or ``.svg``); None writes nothing.
        axes: Axes to draw into: three, for divergence, overlap and cosines; a new figure's where
            None.
        labels: What the legend calls the networks; by default their models.
        colours: Those of the networks; by default a palette for all kinds of colour vision.
        legend: Whether the first panel has one.

    Returns:
        The figure, as wide as a paper's column, or that of ``axes``.

    Raises:
        UsageError: A column is missing, axes or labels are more or fewer than needed, or the
            file's ending is unknown.
        OutputError: The file cannot be written.
    """
    tables = all_networks(frames, labels, key=("block",))
    drawn = [
        Panel(column, partial(
            curve_by_depth, *tables, column=column, colours=colours,
            legend=legend and place == 0,
        ))
        for place, column in enumerate(_LABELS)
    ]  # fmt: skip
    return draw_panels(drawn, path, axes=axes, height=1.9)


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
        legend: Whether there is one, above the axes.

    Returns:
        The axes: x block number, y the column.

    Raises:
        UsageError: A column is missing, or labels are more or fewer than the networks.
    """
    frames = tuple(all_networks(frames, labels, key=("block",)))
    for frame in frames:
        require_columns(frame, "block", column)
    with paper_style():
        ax = axes_or_new(ax)
        if column == "branch_cosine":
            ax.axhline(0, color=GREY, linewidth=0.6)
        bands = False
        for index, (frame, label) in enumerate(zip(frames, series_labels(frames), strict=True)):
            style, x = look(index, colours), frame["block"].to_numpy()
            ax.plot(x, frame[column].to_numpy(float), label=label, markersize=2.5, **style.line)
            bands |= interval_band(ax, x, frame, column, style.colour)
        ax.xaxis.set_major_locator(MaxNLocator(8, integer=True))
        ax.set_xlabel("Cut short after block" if column != "branch_cosine" else "Block")
        ax.set_ylabel(_LABELS.get(column, column))
        if legend:
            curves = ax.get_legend_handles_labels()[0]
            band = [band_entry()]
            legend_above(ax, [*curves, *(band if bands else []), *counted(frames)])
    return ax
