"""The figure of spectra: cancellation and lengths by block, effects of branches, two lengths."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ensembles.analyses.cancellation import CANCELLING
from ensembles.plots.heat_map import heat_map
from ensembles.plots.layout import axes_or_new, letters, make_room, new_figure, panel_letter
from ensembles.plots.style import DOTTED, GREY, legend_above, look, paper_style, save_figure
from ensembles.tables.networks import all_networks, series_labels
from ensembles.tables.schema import require_columns

__all__ = [
    "cancellation_by_block", "effects_by_block", "length_by_network", "lengths_by_block",
    "plot_spectra",
]  # fmt: skip

_WAYS = {
    "derivative": "derivatives", "held": "gates and norms held", "deleted": "deletion",
}  # fmt: skip


def plot_spectra(
    frames: pd.DataFrame | Sequence[pd.DataFrame], path: str | Path | None = None
) -> Figure:
    """Draw cancellation and lengths by block, effects of branches, and two lengths where known.

    Several networks, such as the checkpoints of a training in order, share the first panels, and
    have one more: the length at the first block, network by network. Effects are those of the first
    and the last of them.

    Args:
        frames: Table of ``ensembles.analyze(net, data, "spectra")`` of one network, one for each
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
    joint = [one for one in tables if one.attrs.get("two_lengths")]
    several, labels = len(tables) > 1, series_labels(tables)
    ends = [(tables[place], labels[place]) for place in ((0, -1) if several else (0,))]
    figure, axes = new_figure(2 + several + len(ends) + len(joint), height=2.1)
    rest = iter(axes)
    cancellation_by_block(*tables, ax=next(rest))
    lengths_by_block(*tables, ax=next(rest), legend=False)
    if several:
        length_by_network(*tables, ax=next(rest))
    for table, label in ends:
        ax = effects_by_block(table, ax=next(rest))
        if several:
            ax.set_xlabel(f"{ax.get_xlabel()} of {label}")
    for table in joint:
        shown = pd.DataFrame(table.attrs["two_lengths"])
        heat_map(
            shown, x="attention", y="others", value="share", ax=next(rest),
            labels=("Attention branches taken", "Other branches taken", "Share of the norms"),
        )  # fmt: skip
    for letter, ax in zip(letters(), axes, strict=False):
        panel_letter(ax, letter)
    make_room(figure, axes)
    if path is not None:
        save_figure(figure, path)
    return figure


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
        legend: Whether to name the networks.

    Raises:
        UsageError: A column is missing.
    """
    with paper_style():
        ax = axes_or_new(ax)
        ax.axhline(1, color=GREY, linewidth=0.6)
        tables = all_networks(frames, labels)
        _curves(ax, tables, "cancellation", colours)
        if max(float(one["cancellation"].max()) for one in tables) > CANCELLING:
            ax.set_yscale("log")
        ax.set_ylabel("Cancellation: norms over\nthe norm of their sum")
        if legend:
            legend_above(ax, ax.get_legend_handles_labels()[0])
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
        legend: Whether to name the networks.

    Raises:
        UsageError: A column is missing.
    """
    tables = all_networks(frames, labels)
    with paper_style():
        ax = axes_or_new(ax)
        for index, frame in enumerate(tables):
            require_columns(frame, "first", "last", "later")
            x = frame["block"].to_numpy()
            low, high = (frame[name].to_numpy(float) for name in ("first", "last"))
            ax.fill_between(x, low, high, alpha=0.2, linewidth=0, color=look(index, colours).colour)
            ax.plot(x, frame["later"] / 2, color=GREY, linewidth=0.8, linestyle=DOTTED)
        _curves(ax, tables, "mean", colours, bands=False)
        ax.set_ylabel("Branches on paths to the\noutput (band: 95 %)")
        if legend:
            legend_above(ax, ax.get_legend_handles_labels()[0])
    return ax


def length_by_network(
    *frames: pd.DataFrame,
    ax: Axes | None = None,
    labels: Sequence[str] | None = None,
    colours: Sequence[str] | None = None,
) -> Axes:
    """Mean length at the first block over its blocks, network by network, in their order.

    Args:
        frames: Table of spectra of each network, such as the checkpoints of a training.
        ax: Axes to draw into; a new figure's where None.
        labels: What the axis calls the networks; by default their models.
        colours: That of the curve, first.

    Raises:
        UsageError: A column is missing.
    """
    tables = all_networks(frames, labels)
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
    return ax


def effects_by_block(
    frame: pd.DataFrame,
    *,
    ax: Axes | None = None,
    colours: Sequence[str] | None = None,
    legend: bool = True,
) -> Axes:
    """What each branch adds to the logit of the right answer, in three ways; bands: 95 % over rows.

    Args:
        frame: A table of spectra of one network.
        ax: Axes to draw into; a new figure's where None.
        colours: Those of the ways.
        legend: Whether to draw one.

    Raises:
        UsageError: A column is missing.
    """
    with paper_style():
        ax = axes_or_new(ax)
        ax.axhline(0, color=GREY, linewidth=0.6)
        for index, (way, label) in enumerate(_WAYS.items()):
            _curves(ax, [frame], way, colours, [label], start=index)
        ax.set_ylabel("Added to the logit\nof the right answer")
        if legend:
            legend_above(ax, ax.get_legend_handles_labels()[0])
    return ax


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
        ends = [frame.get(f"{column}_{end}") for end in ("low", "high")]
        if bands and ends[0] is not None and ends[1] is not None:
            low, high = (np.asarray(one, float) for one in ends)
            ax.fill_between(x, low, high, color=style.colour, alpha=0.2, linewidth=0)
    ax.xaxis.set_major_locator(MaxNLocator(8, integer=True))
    ax.set_xlabel("Block")
