"""Figures of path analyses: lengths, gradient by length, their product; accuracy by length.

They follow figure 6 of Veit, Wilber and Belongie (NIPS 2016, arXiv 1605.06431), with the exact
curves over the sampled ones. They take the tables of :func:`ensembles.paths`: of one network all of
its measures, of several networks one measure of each.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from ensembles.analyses.cancellation import cancellation_texts, cancels
from ensembles.analyses.effective_paths import effective_paths
from ensembles.errors import UsageError
from ensembles.plots.layout import Panel, axes_or_new, draw_panels
from ensembles.plots.measures import counted
from ensembles.plots.path_logits import PANELS
from ensembles.plots.path_marks import (
    LABELS,
    Series,
    band,
    chosen,
    finish_lengths,
    line,
    networks,
    per_path,
    percent,
    positive,
    power_of_two,
    shares,
)
from ensembles.plots.style import GREY, legend_above, look, paper_style, tint
from ensembles.statistics import require_columns
from ensembles.tables.networks import all_networks, series_labels

__all__ = ["gradient_by_length", "path_lengths", "plot_paths", "shares_by_length"]

_MEASURES = {
    "gradient_coherent": "coherent",
    "gradient_rms": "rms",
    "gradient_mean": "mean",
    "logit_norm": "logits",
}
_BAR = 0.035  # between the bars of intervals, in heights of the axes
_PALE = 0.3


def plot_paths(
    frames: pd.DataFrame | Sequence[pd.DataFrame],
    path: str | Path | None = None,
    *,
    axes: Sequence[Axes] | None = None,
    measure: str | None = None,
    labels: Sequence[str] | None = None,
    colours: Sequence[str] | None = None,
    legend: bool = True,
) -> Figure:
    """Draw a path analysis: figure 6 of the paper, or what each length adds to the logits.

    Args:
        frames: Table of :func:`ensembles.paths` of one network, one for each network, or several
            in one; all in one direction.
        path: File to write (``.png``, ``.pdf`` or ``.svg``); None writes nothing.
        axes: Axes to draw into: three for gradients (lengths, gradient, their product), two for
            logits (accuracy, norm).
        measure: The only measure to draw, as ``gradient_rms``; by default all of one network, and
            of several networks the first that all have.
        labels: What legends call the networks; by default their models.
        colours: Those of the curves; by default a palette for all kinds of colour vision.
        legend: Whether there are legends.

    Returns:
        The figure, as wide as a paper's column, or that of ``axes``. Its panels are
        ``figure.axes``.

    Raises:
        UsageError: A column is missing, the tables differ in direction, the axes are more or fewer
            than the panels, or the file's ending is unknown.
        OutputError: The file cannot be written.
    """
    tables = all_networks(frames, labels)
    directions = {"accuracy_up_to" in one.columns for one in tables}
    if len(directions) > 1:
        raise UsageError("tables of gradients and of logits have no figure together; draw each")
    panels: dict[str, Callable[..., Axes]] = {
        "lengths": path_lengths, "gradient": gradient_by_length, "shares": shares_by_length,
    }  # fmt: skip
    if True in directions:
        panels = PANELS
    drawn = []
    for name, draw in panels.items():
        own = {} if name in ("lengths", "accuracy") else {"measure": measure}
        drawn.append(Panel(name, partial(draw, *tables, colours=colours, legend=legend, **own)))
    return draw_panels(drawn, path, axes=axes, height=2.0)


def path_lengths(
    *frames: pd.DataFrame,
    ax: Axes | None = None,
    labels: Sequence[str] | None = None,
    colours: Sequence[str] | None = None,
    legend: bool = True,
) -> Axes:
    """How many paths each length has (figure 6a): bars of one network, lines of several.

    Args:
        frames: Tables of :func:`ensembles.paths`, or of :func:`ensembles.count_paths`.
        ax: Axes to draw into; a new figure's where None.
        labels: What the legend calls the networks; by default their models.
        colours: Those of the networks.
        legend: Whether several networks have one.

    Returns:
        The axes: x path length, y share of all paths.

    Raises:
        UsageError: A column is missing.
    """
    for frame in frames:
        require_columns(frame, "length", "paths")
    tables = networks(frames, labels)
    with paper_style():
        ax = axes_or_new(ax)
        handles: list[Artist] = []
        for place, (frame, label) in enumerate(zip(tables, series_labels(tables), strict=True)):
            counts = [int(number) for number in frame["paths"]]
            total = sum(counts)
            parts = [count / total for count in counts]
            style = look(place, colours)
            name = f"Share of {power_of_two(total)} paths"
            if len(tables) == 1:
                ax.bar(frame["length"], parts, width=0.8, color=style.colour)
                ax.set_ylabel(name)
            else:
                drawn = Series(frame, "paths", f"{label}, {power_of_two(total)}", style)
                handles += ax.plot(frame["length"], parts, label=drawn.label, **line(drawn))
                ax.set_ylabel("Share of all paths")
        ax.set_ylim(bottom=0)
        ax.yaxis.set_major_formatter(percent)
        finish_lengths(ax, tables)
        if handles and legend:
            legend_above(ax, handles)
    return ax


def gradient_by_length(
    *frames: pd.DataFrame,
    ax: Axes | None = None,
    measure: str | None = None,
    labels: Sequence[str] | None = None,
    colours: Sequence[str] | None = None,
    legend: bool = True,
) -> Axes:
    """Norm of the gradient through a single path, on a log axis (figure 6b).

    Bands: two standard errors of random signs; the 95 % bootstrap interval of drawn paths.

    Args:
        frames: Tables of :func:`ensembles.paths` in the direction "gradient".
        ax: Axes to draw into; a new figure's where None.
        measure: The only measure to draw: ``gradient_mean``, ``gradient_rms`` or
            ``gradient_coherent`` (the norm of the sum of all paths, over their number).
        labels: What the legend calls the networks; by default their models.
        colours: Those of the curves.
        legend: Whether there is one, above the axes.

    Returns:
        The axes: x path length, y L2 norm.

    Raises:
        UsageError: A column is missing, or there is no such measure.
    """
    columns = ("gradient_mean", "gradient_rms", "gradient_coherent")
    for frame in frames:
        require_columns(frame, "length", *columns)
    tables = networks(frames, labels)
    with paper_style():
        ax = axes_or_new(ax)
        handles: list[Artist] = []
        bands: dict[str, Artist] = {}
        for one in chosen(tables, columns, measure, colours):
            summed = one.column == "gradient_coherent"
            values = per_path(one.frame) if summed else positive(one.frame[one.column])
            label = "sum of all paths over their number" if summed else one.label
            label = one.label if len(tables) > 1 else label
            handles += ax.plot(one.frame["length"], values, label=label, **line(one))
            if (around := band(one)) is not None:
                low, high, told = around
                ax.fill_between(
                    one.frame["length"], low, high, color=one.look.colour, alpha=0.25, lw=0
                )
                bands.setdefault(told, Patch(facecolor=tint(one.look.colour), lw=0, label=told))
        ax.set_yscale("log")
        named = {"gradient_rms": ", RMS", "gradient_mean": ", mean"}
        what = named.get(one.column, "") if len(tables) > 1 else ""
        ax.set_ylabel(f"Gradient of one path{what}")
        finish_lengths(ax, tables)
        if legend:
            legend_above(ax, [*handles, *bands.values(), *counted(tables)])
    return ax


def shares_by_length(
    *frames: pd.DataFrame,
    ax: Axes | None = None,
    measure: str | None = None,
    labels: Sequence[str] | None = None,
    colours: Sequence[str] | None = None,
    legend: bool = True,
) -> Axes:
    """How much of the gradient each length holds: number of paths times norm (figure 6c).

    Each measure is drawn as a share of its sum; bars below the axis mark the shortest interval that
    holds 95 %. The legend tells how many times the norm of their sum the norms of all lengths add
    up to (cancellation); where that is much, lengths cancel, and the bars are pale, as such an
    interval says nothing.

    Args:
        frames: Tables of :func:`ensembles.paths`.
        ax: Axes to draw into; a new figure's where None.
        measure: The only measure to draw, as ``gradient_rms``.
        labels: What the legend calls the networks; by default their models.
        colours: Those of the curves.
        legend: Whether there is one, above the axes.

    Returns:
        The axes: x path length, y share of the measure.

    Raises:
        UsageError: If a table holds no measure, or there is no such one.
    """
    for frame in frames:
        require_columns(frame, "length", "paths")
    tables = networks(frames, labels)
    series = chosen(tables, list(LABELS), measure, colours)
    with paper_style():
        ax = axes_or_new(ax)
        handles: list[Artist] = []
        for place, one in enumerate(series):
            times = " × number" if one.column in ("gradient_rms", "gradient_mean") else ""
            label = one.label if len(tables) > 1 else one.label + times
            handles += ax.plot(one.frame["length"], shares(one), label=label, **line(one))
            intervals = effective_paths(one.frame).set_index("measure")
            if _MEASURES[one.column] in intervals.index:
                row = intervals.loc[_MEASURES[one.column]]
                height = -_BAR * (place + 1)
                ax.plot(
                    [row["first"], row["last"]], [height, height], lw=2.5,
                    color=one.look.colour, solid_capstyle="butt",
                    alpha=_PALE if cancels(one.frame) else None,
                    transform=ax.get_xaxis_transform(), clip_on=False,
                )  # fmt: skip
        ax.tick_params(axis="x", pad=3 + 3 * len(series))
        ax.set_ylim(bottom=0)
        ax.yaxis.set_major_formatter(percent)
        ax.set_ylabel("Share of the total" if len(tables) == 1 else f"Share, {_short(series[0])}")
        finish_lengths(ax, tables)
        handles.append(Line2D([], [], color=GREY, lw=2.5, label="95% interval of lengths"))
        for frame, label in zip(tables, series_labels(tables), strict=True):
            name = f"{label}: " if len(tables) > 1 else ""
            for line_of_it in cancellation_texts(frame):
                handles.append(Line2D([], [], lw=0, label=f"{name}{line_of_it}"))
        if legend:
            legend_above(ax, [*handles, *counted(tables)])
    return ax


def _short(series: Series) -> str:
    """The measure of several networks, as an axis names it."""
    return {
        "gradient_rms": "RMS × number",
        "gradient_mean": "mean × number",
        "gradient_coherent": "sum of paths",
        "logit_norm": "logits",
    }[series.column]
