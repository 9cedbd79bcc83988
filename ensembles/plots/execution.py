"""The figure of spans run in other ways: by length, by position, and as a map."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ensembles.errors import UsageError
from ensembles.plots.heat_map import heat_map
from ensembles.plots.layout import axes_or_new, letters, make_room, new_figure, panel_letter
from ensembles.plots.rise_axis import RISE, rise_axis
from ensembles.plots.style import legend_above, look, paper_style, save_figure
from ensembles.statistics import median_interval
from ensembles.tables.networks import all_networks, series_labels
from ensembles.tables.schema import require_columns

__all__ = ["cost_by_length", "cost_of_swaps", "plot_execution"]


def plot_execution(
    frames: pd.DataFrame | Sequence[pd.DataFrame], path: str | Path | None = None
) -> Figure:
    """Draw what spans cost by their length, swaps by position, and spans run twice as a map.

    Args:
        frames: Table of ``ensembles.analyze(net, data, "execution")`` of one network, one for each
            network, or one that :func:`ensembles.tables.stack_frames` put together. With several
            networks each has panels of its own.
        path: File to write (``.png``, ``.pdf`` or ``.svg``); None writes nothing.

    Returns:
        The figure, as wide as a paper's column.

    Raises:
        UsageError: A column is missing, no value is finite, or the file's ending is unknown.
        OutputError: The file cannot be written.
    """
    given = [frames] if isinstance(frames, pd.DataFrame) else list(frames)
    tables = all_networks(given)
    for table in tables:
        require_columns(table, "variant", "first", "last", "length", "loss_rise")
    panels = [
        (panel, table, label)
        for table, label in zip(tables, series_labels(tables), strict=True)
        for panel in ("spans", "swap", "twice")
        if not _of(table, panel).empty
    ]
    if not panels:
        raise UsageError("no rise of the loss is finite; there is no figure")
    figure, axes = new_figure(len(panels), height=2.4)
    for letter, ax, (panel, table, label) in zip(letters(), axes, panels, strict=False):
        if panel == "spans":
            cost_by_length(table, ax=ax)
        elif panel == "swap":
            cost_of_swaps(table, ax=ax)
        else:
            heat_map(
                _of(table, panel), x="first", y="last", value="loss_rise",
                labels=("First block of the span", "Last block", RISE), bar="bottom", ax=ax,
            )  # fmt: skip
        if len(panels) > 1:
            panel_letter(ax, letter)
        if len(tables) > 1:
            ax.set_xlabel(f"{ax.get_xlabel()},\n{label}")
    make_room(figure, axes)
    if path is not None:
        save_figure(figure, path)
    return figure


def cost_by_length(
    frame: pd.DataFrame,
    *,
    ax: Axes | None = None,
    colours: Sequence[str] | None = None,
    legend: bool = True,
) -> Axes:
    """The median rise of the loss over spans of each length, a curve for each way to run them.

    Whiskers: 95 % bootstrap interval of the median over spans.

    Args:
        frame: A table of execution of one network.
        ax: Axes to draw into; a new figure's where None.
        colours: Those of the curves, in the order of the legend.
        legend: Whether to draw one.

    Raises:
        UsageError: A column is missing.
    """
    require_columns(frame, "variant", "length", "loss_rise")
    spans = _of(frame, "spans")
    with paper_style():
        ax = axes_or_new(ax)
        ax.set_xscale("log", base=2)
        rise_axis(ax, spans["loss_rise"])
        for index, (name, rows) in enumerate(spans.groupby("variant", sort=False)):
            style = look(index, colours)
            lengths = sorted(set(rows["length"].astype(int)))
            found = [
                median_interval(rows.loc[rows["length"] == length, "loss_rise"])
                for length in lengths
            ]
            x = [length * 2 ** (0.06 * (index - 2.5)) for length in lengths]
            y = [one.value for one in found]
            below = [one.value - one.low for one in found]
            above = [one.high - one.value for one in found]
            ax.errorbar(
                x, y, [below, above], label=str(name), elinewidth=0.6, markersize=3, **style.line
            )
        every = sorted(set(spans["length"].astype(int)))
        ax.set_xticks(every, [str(one) for one in every])
        ax.minorticks_off()
        ax.set_xlabel("Length of the span (blocks)")
        ax.set_ylabel(f"{RISE},\nmedian over spans")
        if legend:
            legend_above(ax, ax.get_legend_handles_labels()[0])
    return ax


def cost_of_swaps(frame: pd.DataFrame, *, ax: Axes | None = None) -> Axes:
    """The rise of the loss where two neighbours are exchanged, by the first of them.

    Whiskers: 95 % interval over rows of the data.

    Args:
        frame: A table of execution of one network.
        ax: Axes to draw into; a new figure's where None.

    Raises:
        UsageError: A column is missing.
    """
    require_columns(frame, "variant", "first", "loss_rise", "loss_rise_low", "loss_rise_high")
    rows = _of(frame, "swap")
    with paper_style():
        ax = axes_or_new(ax)
        rise_axis(ax, rows["loss_rise"])
        ax.xaxis.set_major_locator(MaxNLocator(8, integer=True))
        y = rows["loss_rise"]
        ends = [y - rows["loss_rise_low"], rows["loss_rise_high"] - y]
        ax.errorbar(
            rows["first"], y, [one.clip(lower=0).fillna(0) for one in ends],
            fmt="o", color=look(0).colour, markersize=3, elinewidth=0.6,
        )  # fmt: skip
        ax.set_xlabel("First of two exchanged neighbours")
        ax.set_ylabel(RISE)
    return ax


def _of(frame: pd.DataFrame, panel: str) -> pd.DataFrame:
    """The rows of swaps, of spans that run twice, or of all other spans, where finite."""
    apart = frame["variant"].isin(["swap", "twice"])
    chosen = frame[~apart] if panel == "spans" else frame[frame["variant"] == panel]
    return chosen[chosen["loss_rise"].notna()]
