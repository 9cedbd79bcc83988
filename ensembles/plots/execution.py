"""The figure of spans run in other ways: by length, by position, and as a map."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ensembles.errors import UsageError
from ensembles.plots.heat_map import heat_map
from ensembles.plots.layout import Panel, axes_or_new
from ensembles.plots.measures import counted
from ensembles.plots.network_panels import network_panels
from ensembles.plots.rise_axis import RISE, rise_axis
from ensembles.plots.style import curve_names, legend_above, look, paper_style, whiskers
from ensembles.statistics import median_interval
from ensembles.tables.networks import one_network
from ensembles.tables.schema import require_columns

__all__ = ["cost_by_length", "cost_of_swaps", "plot_execution"]


def plot_execution(
    frames: pd.DataFrame | Sequence[pd.DataFrame],
    path: str | Path | None = None,
    *,
    axes: Sequence[Axes] | None = None,
    labels: Sequence[str] | None = None,
    colours: Sequence[str] | None = None,
    colour_map: str | None = None,
    legend: bool = True,
) -> Figure:
    """Draw what spans cost by their length, swaps by position, and spans run twice as a map.

    Args:
        frames: Table of ``ensembles.analyze(net, data, "execution")`` of one network, one for each
            network, or one that :func:`ensembles.tables.stack_frames` put together. With several
            networks each has panels of its own.
        path: File to write (``.png``, ``.pdf`` or ``.svg``); None writes nothing.
        axes: Axes to draw into, one for each panel, network by network: spans, swaps and the map,
            as far as a table holds them; a new figure's where None.
        labels: What x axes call the networks; by default their models, where there are several.
        colours: Those of the curves, in the order of the legend.
        colour_map: Name of a colour map of matplotlib's, for the map.
        legend: Whether panels have a legend, and the map a colour bar.

    Returns:
        The figure, as wide as a paper's column, or that of ``axes``.

    Raises:
        UsageError: A column is missing, no value is finite, axes or labels are more or fewer than
            needed, or the file's ending is unknown.
        OutputError: The file cannot be written.
    """

    def panels(frame: pd.DataFrame) -> list[Panel]:
        require_columns(frame, "variant", "first", "last", "length", "loss_rise")
        drawn: dict[str, Callable[..., Axes]] = {
            "spans": partial(cost_by_length, frame, colours=colours, legend=legend),
            "swap": partial(cost_of_swaps, frame, colours=colours, legend=legend),
            "twice": partial(
                heat_map, _of(frame, "twice"), x="first", y="last", value="loss_rise",
                labels=("First block of the span", "Last block", RISE), bar="bottom",
                colours=colour_map, legend=legend,
            ),
        }  # fmt: skip
        found = [Panel(name, draw) for name, draw in drawn.items() if not _of(frame, name).empty]
        if not found:
            raise UsageError("no rise of the loss is finite; there is no figure")
        return found

    return network_panels(frames, panels, path, axes=axes, labels=labels, height=2.4)


def cost_by_length(
    frame: pd.DataFrame,
    *,
    ax: Axes | None = None,
    labels: Sequence[str] | None = None,
    colours: Sequence[str] | None = None,
    legend: bool = True,
) -> Axes:
    """The median rise of the loss over spans of each length, a curve for each way to run them.

    Whiskers: 95 % bootstrap interval of the median over spans.

    Args:
        frame: A table of execution of one network.
        ax: Axes to draw into; a new figure's where None.
        labels: What the legend calls the ways; by default as the table does.
        colours: Those of the curves, in the order of the legend.
        legend: Whether there is one, above the axes.

    Returns:
        The axes: x length of the span, y rise of the loss in nats.

    Raises:
        UsageError: A column is missing, the table holds several networks, or labels are more or
            fewer than the ways.
    """
    require_columns(frame, "variant", "length", "loss_rise")
    frame = one_network(frame, "a panel of spans", "variant", "first", "last")
    spans = _of(frame, "spans")
    variants = spans.groupby("variant", sort=False)
    names = curve_names([str(name) for name, _ in variants], labels)
    with paper_style():
        ax = axes_or_new(ax)
        ax.set_xscale("log", base=2)
        rise_axis(ax, spans["loss_rise"])
        for index, (name, (_, rows)) in enumerate(zip(names, variants, strict=True)):
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
                x, y, [below, above], label=name, elinewidth=0.6, markersize=3, **style.line
            )
        every = sorted(set(spans["length"].astype(int)))
        ax.set_xticks(every, [str(one) for one in every])
        ax.minorticks_off()
        ax.set_xlabel("Length of the span (blocks)")
        ax.set_ylabel(f"{RISE},\nmedian over spans")
        if legend:
            curves = ax.get_legend_handles_labels()[0]
            legend_above(ax, [*curves, whiskers("bootstrap 95% interval"), *counted([frame])])
    return ax


def cost_of_swaps(
    frame: pd.DataFrame,
    *,
    ax: Axes | None = None,
    labels: Sequence[str] | None = None,
    colours: Sequence[str] | None = None,
    legend: bool = True,
) -> Axes:
    """The rise of the loss where two neighbours are exchanged, by the first of them.

    Whiskers: 95 % interval over rows of the data.

    Args:
        frame: A table of execution of one network.
        ax: Axes to draw into; a new figure's where None.
        labels: What the legend calls the exchanges, one.
        colours: The first is theirs.
        legend: Whether there is one, above the axes.

    Returns:
        The axes: x the first of the two blocks, y rise of the loss in nats.

    Raises:
        UsageError: A column is missing, or the table holds several networks.
    """
    require_columns(frame, "variant", "first", "loss_rise", "loss_rise_low", "loss_rise_high")
    frame = one_network(frame, "a panel of exchanges", "variant", "first", "last")
    names = curve_names(["two neighbours exchanged"], labels)
    rows = _of(frame, "swap")
    with paper_style():
        ax = axes_or_new(ax)
        rise_axis(ax, rows["loss_rise"])
        ax.xaxis.set_major_locator(MaxNLocator(8, integer=True))
        y = rows["loss_rise"]
        ends = [y - rows["loss_rise_low"], rows["loss_rise_high"] - y]
        ax.errorbar(
            rows["first"], y, [one.clip(lower=0).fillna(0) for one in ends],
            linestyle="", marker=look(0).marker, color=look(0, colours).colour, elinewidth=0.6,
            label=names[0],
        )  # fmt: skip
        ax.set_xlabel("First of two exchanged neighbours")
        ax.set_ylabel(RISE)
        if legend:
            drawn = ax.get_legend_handles_labels()[0]
            legend_above(ax, [*drawn, whiskers("95% interval"), *counted([frame])])
    return ax


def _of(frame: pd.DataFrame, panel: str) -> pd.DataFrame:
    """The rows of swaps, of spans that run twice, or of all other spans, where finite."""
    apart = frame["variant"].isin(["swap", "twice"])
    chosen = frame[~apart] if panel == "spans" else frame[frame["variant"] == panel]
    return chosen[chosen["loss_rise"].notna()]
