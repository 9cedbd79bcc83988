"""The figure of spectra: cancellation and lengths by block, effects of branches, two lengths."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from ensembles.analyses.cancellation import CANCELLING
from ensembles.plots.heat_map import heat_map
from ensembles.plots.interval_marks import band_entry, interval_band
from ensembles.plots.layout import Panel, axes_or_new, draw_panels
from ensembles.plots.measures import counted
from ensembles.plots.style import (
    DOTTED,
    GREY,
    curve_names,
    legend_above,
    look,
    paper_style,
)
from ensembles.tables.networks import all_networks, one_network, series_labels
from ensembles.tables.schema import require_columns

__all__ = [
    "cancellation_by_block", "effects_in_three_ways", "length_by_network", "lengths_by_block",
    "plot_spectra",
]  # fmt: skip

_WAYS = {
    "derivative": "derivatives", "held": "gates and norms held", "deleted": "deletion",
}  # fmt: skip


def plot_spectra(
    frames: pd.DataFrame | Sequence[pd.DataFrame],
    path: str | Path | None = None,
    *,
    axes: Sequence[Axes] | None = None,
    labels: Sequence[str] | None = None,
    colours: Sequence[str] | None = None,
    legend: bool = True,
) -> Figure:
    """Draw cancellation and lengths by block, effects of branches, and two lengths where known.

    Several networks, such as the checkpoints of a training in order, share the first panels, and
    have one more: the length at the first block, network by network. Effects are those of the first
    and the last of them.

    Args:
        frames: Table of ``ensembles.analyze(net, data, "spectra")`` of one network, one for each
            network, or one that :func:`ensembles.tables.stack_frames` put together.
        path: File to write (``.png``, ``.pdf`` or ``.svg``); None writes nothing.
        axes: Axes to draw into, one for each panel: three of one network, five of several, and one
            more for each transformer; a new figure's where None.
        labels: What legends and axes call the networks; by default their models.
        colours: Those of the networks, and of the three effects.
        legend: Whether panels have one, or a colour bar.

    Returns:
        The figure, as wide as a paper's column, or that of ``axes``.

    Raises:
        UsageError: A column is missing, axes or labels are more or fewer than needed, or the
            file's ending is unknown.
        OutputError: The file cannot be written.
    """
    tables = all_networks(frames, labels, key=("block",))
    names = series_labels(tables)
    several = len(tables) > 1
    design: dict[str, Any] = {"colours": colours, "legend": legend}
    drawn = [
        Panel("cancellation", partial(cancellation_by_block, *tables, **design)),
        Panel("lengths", partial(lengths_by_block, *tables, **design)),
    ]
    if several:
        drawn.append(Panel("networks", partial(length_by_network, *tables, **design)))
    for place in (0, -1) if several else (0,):
        name = names[place] if several or labels is not None else ""
        effects = partial(effects_in_three_ways, tables[place], **design)
        drawn.append(Panel(f"effects of {names[place]}", effects, name))
    for table, name in zip(tables, names, strict=True):
        if table.attrs.get("two_lengths"):
            joint = partial(
                heat_map, pd.DataFrame(table.attrs["two_lengths"]), x="attention", y="others",
                value="share", legend=legend,
                labels=("Attention branches taken", "Other branches taken", "Share of the norms"),
            )  # fmt: skip
            drawn.append(Panel(f"two lengths of {name}", joint, name if several else ""))
    return draw_panels(drawn, path, axes=axes, height=2.1)


def cancellation_by_block(
    *frames: pd.DataFrame,
    ax: Axes | None = None,
    labels: Sequence[str] | None = None,
    colours: Sequence[str] | None = None,
    legend: bool = True,
) -> Axes:
    """Norms of the lengths over the norm of their sum, by block; band: 95 % over images.

    Args:
        frames: Table of spectra of each network.
        ax: Axes to draw into; a new figure's where None.
        labels: What the legend calls the networks; by default their models.
        colours: Those of the networks.
        legend: Whether there is one, above the axes.

    Returns:
        The axes.

    Raises:
        UsageError: A column is missing, or labels are more or fewer than the networks.
    """
    with paper_style():
        ax = axes_or_new(ax)
        ax.axhline(1, color=GREY, linewidth=0.6)
        tables = all_networks(frames, labels, key=("block",))
        _curves(ax, tables, "cancellation", colours)
        if max(float(one["cancellation"].max()) for one in tables) > CANCELLING:
            ax.set_yscale("log")
        ax.set_ylabel("Cancellation: norms over\nthe norm of their sum")
        _finish(ax, "Block", legend, "95% interval", counted(tables, "images"))
    return ax


def lengths_by_block(
    *frames: pd.DataFrame,
    ax: Axes | None = None,
    labels: Sequence[str] | None = None,
    colours: Sequence[str] | None = None,
    legend: bool = True,
) -> Axes:
    """Mean length of the paths from each block on, and the interval that holds 95 %.

    Dotted: half of the blocks that follow, as if branches and shortcuts carried alike.

    Args:
        frames: Table of spectra of each network.
        ax: Axes to draw into; a new figure's where None.
        labels: What the legend calls the networks; by default their models.
        colours: Those of the networks.
        legend: Whether there is one, above the axes.

    Returns:
        The axes.

    Raises:
        UsageError: A column is missing, or labels are more or fewer than the networks.
    """
    tables = all_networks(frames, labels, key=("block",))
    with paper_style():
        ax = axes_or_new(ax)
        for index, frame in enumerate(tables):
            require_columns(frame, "first", "last", "later")
            x = frame["block"].to_numpy()
            low, high = (frame[name].to_numpy(float) for name in ("first", "last"))
            ax.fill_between(x, low, high, alpha=0.2, linewidth=0, color=look(index, colours).colour)
            ax.plot(x, frame["later"] / 2, color=GREY, linewidth=0.8, linestyle=DOTTED)
        _curves(ax, tables, "mean", colours, bands=False)
        ax.set_ylabel("Branches on paths\nto the output")
        _finish(ax, "Block", legend, "interval with 95% of the norms", counted(tables, "images"))
    return ax


def length_by_network(
    *frames: pd.DataFrame,
    ax: Axes | None = None,
    labels: Sequence[str] | None = None,
    colours: Sequence[str] | None = None,
    legend: bool = True,
) -> Axes:
    """Mean length at the first block over its blocks, network by network, in their order.

    Args:
        frames: Table of spectra of each network, such as the checkpoints of a training.
        ax: Axes to draw into; a new figure's where None.
        labels: What the axis calls the networks; by default their models.
        colours: That of the curve, first.
        legend: Whether there is one, above the axes.

    Returns:
        The axes.

    Raises:
        UsageError: A column is missing, or labels are more or fewer than the networks.
    """
    tables = all_networks(frames, labels, key=("block",))
    for frame in tables:
        require_columns(frame, "mean", "mean_low", "mean_high", "later")
    first = [frame.iloc[0] for frame in tables]
    y, low, high = (
        np.array([row[name] / row["later"] for row in first], float)
        for name in ("mean", "mean_low", "mean_high")
    )
    with paper_style():
        ax = axes_or_new(ax)
        ends = [np.nan_to_num(y - low), np.nan_to_num(high - y)]
        ax.errorbar(
            range(len(y)), y, np.clip(ends, 0, None), elinewidth=0.6, **look(0, colours).line
        )
        ax.set_xticks(range(len(y)), series_labels(tables), rotation=20, ha="right")
        ax.set_ylim(bottom=0)
        ax.set_ylabel("Mean length\nover blocks")
        if legend:
            bar = Line2D([], [], color=GREY, linewidth=0.6, label="95% interval")
            legend_above(ax, [bar, *counted(tables, "images")])
    return ax


def effects_in_three_ways(
    frame: pd.DataFrame,
    *,
    ax: Axes | None = None,
    labels: Sequence[str] | None = None,
    colours: Sequence[str] | None = None,
    legend: bool = True,
) -> Axes:
    """What each branch adds to the logit of the right answer, in three ways; bands: 95 % over rows.

    Args:
        frame: A table of spectra of one network.
        ax: Axes to draw into; a new figure's where None.
        labels: What the legend calls the three ways; by default as here.
        colours: Those of the ways.
        legend: Whether there is one, above the axes.

    Returns:
        The axes: x block number, y what is added.

    Raises:
        UsageError: A column is missing, the table holds several networks, or labels are more or
            fewer than three.
    """
    frame = one_network(frame, "a panel of effects", "block")
    names = curve_names(list(_WAYS.values()), labels)
    with paper_style():
        ax = axes_or_new(ax)
        ax.axhline(0, color=GREY, linewidth=0.6)
        for index, (way, label) in enumerate(zip(_WAYS, names, strict=True)):
            _curves(ax, [frame], way, colours, [label], start=index)
        ax.set_ylabel("Added to the logit\nof the right answer")
        _finish(ax, "Block", legend, "95% interval", counted([frame], "rows"))
    return ax


def _finish(ax: Axes, x: str, legend: bool, band: str, numbers: Sequence[Artist]) -> None:
    """Name the x axis, the curves, what bands are, and over how many rows."""
    ax.xaxis.set_major_locator(MaxNLocator(8, integer=True))
    ax.set_xlabel(x)
    if legend:
        handles: list[Artist] = list(ax.get_legend_handles_labels()[0])
        handles.append(band_entry(band))
        legend_above(ax, [*handles, *numbers])


def _curves(
    ax: Axes,
    tables: Sequence[pd.DataFrame],
    column: str,
    colours: Sequence[str] | None,
    labels: Sequence[str] | None = None,
    *,
    start: int = 0,
    bands: bool = True,
) -> None:
    """A column by block, a curve a network, with its interval as a band."""
    names = labels or series_labels(tables)
    for index, (frame, label) in enumerate(zip(tables, names, strict=True), start):
        require_columns(frame, "block", column)
        style, x = look(index, colours), frame["block"].to_numpy()
        ax.plot(x, frame[column].to_numpy(float), label=label, markersize=2.5, **style.line)
        if bands:
            interval_band(ax, x, frame, column, style.colour)
