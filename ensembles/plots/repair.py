"""The figure of repair: direct and total effects, by block and against each other."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ensembles.plots.interval_marks import interval_whiskers
from ensembles.plots.layout import Panel, axes_or_new
from ensembles.plots.measures import counted
from ensembles.plots.network_panels import network_panels
from ensembles.plots.style import (
    DOTTED,
    GREY,
    curve_names,
    legend_above,
    look,
    paper_style,
    proxy,
    whiskers,
)
from ensembles.tables.networks import one_network
from ensembles.tables.schema import require_columns

__all__ = ["effects_by_block", "plot_repair", "total_by_direct"]

_EFFECTS = {"direct": "direct", "total": "total, by deletion"}
_LOGIT = "Effect on the right logit"
_WIDE = 30  # the largest value over the median one, from which on axes are logarithmic


def plot_repair(
    frames: pd.DataFrame | Sequence[pd.DataFrame],
    path: str | Path | None = None,
    *,
    axes: Sequence[Axes] | None = None,
    labels: Sequence[str] | None = None,
    colours: Sequence[str] | None = None,
    legend: bool = True,
) -> Figure:
    """Draw both effects by block, and the total against the direct one, panels a network.

    Args:
        frames: Table of ``ensembles.analyze(net, data, "repair")`` of one network, one for each
            network, or one that :func:`ensembles.tables.stack_frames` put together.
        path: File to write (``.png``, ``.pdf`` or ``.svg``); None writes nothing.
        axes: Axes to draw into, two for each network (by block, total by direct); a new
            figure's where None.
        labels: What x axes call the networks; by default their models, where there are several.
        colours: Those of the curves, in the order of the legends.
        legend: Whether panels have one.

    Returns:
        The figure, as wide as a paper's column, or that of ``axes``.

    Raises:
        UsageError: A column is missing, axes or labels are more or fewer than needed, or the
            file's ending is unknown.
        OutputError: The file cannot be written.
    """

    def panels(frame: pd.DataFrame) -> list[Panel]:
        drawn = {"effects": effects_by_block, "total": total_by_direct}
        return [
            Panel(name, partial(draw, frame, colours=colours, legend=legend))
            for name, draw in drawn.items()
        ]

    return network_panels(frames, panels, path, axes=axes, labels=labels, height=2.4)


def effects_by_block(
    frame: pd.DataFrame,
    *,
    ax: Axes | None = None,
    labels: Sequence[str] | None = None,
    colours: Sequence[str] | None = None,
    legend: bool = True,
) -> Axes:
    """Direct and total effect of each block; what lies between the curves is repair.

    Whiskers: 95 % interval over rows of the data.

    Args:
        frame: A table of repair of one network.
        ax: Axes to draw into; a new figure's where None.
        labels: What the legend calls the curves; by default as here.
        colours: Those of the curves, in the order of the legend.
        legend: Whether there is one, above the axes.

    Returns:
        The axes: x block number, y effect on the right logit.

    Raises:
        UsageError: A column is missing, the table holds several networks, or labels are more or
            fewer than the curves.
    """
    _require(frame, "block")
    frame = one_network(frame, "a panel of repair", "block")
    names = curve_names(list(_EFFECTS.values()), labels)
    with paper_style():
        ax = axes_or_new(ax)
        ax.axhline(0, color=GREY, linewidth=0.6)
        threshold = _linear_below(frame)
        if threshold:
            ax.set_yscale("symlog", linthresh=threshold)
        for index, (name, label) in enumerate(zip(_EFFECTS, names, strict=True)):
            ax.errorbar(
                frame["block"], frame[name], interval_whiskers(frame, name), label=label,
                elinewidth=0.5, markersize=2.5, **look(index, colours).line,
            )  # fmt: skip
        ax.xaxis.set_major_locator(MaxNLocator(8, integer=True))
        ax.margins(x=0.02)
        ax.set_xlabel("Block")
        ax.set_ylabel(_LOGIT)
        if legend:
            curves = ax.get_legend_handles_labels()[0]
            legend_above(ax, [*curves, whiskers("95% interval"), *counted([frame])])
    return ax


def total_by_direct(
    frame: pd.DataFrame,
    *,
    ax: Axes | None = None,
    labels: Sequence[str] | None = None,
    colours: Sequence[str] | None = None,
    legend: bool = True,
) -> Axes:
    """The total effect of each block against its direct one.

    On the diagonal nothing is repaired, on the line at 0 all is. Whiskers: 95 % intervals.

    Args:
        frame: A table of repair of one network.
        ax: Axes to draw into; a new figure's where None.
        labels: What the legend calls the curves; by default as here.
        colours: Its first is that of the points.
        legend: Whether there is one, above the axes.

    Returns:
        The axes: x direct effect, y total effect.

    Raises:
        UsageError: A column is missing, the table holds several networks, or labels are more or
            fewer than the curves.
    """
    _require(frame, "block")
    frame = one_network(frame, "a panel of repair", "block")
    names = curve_names(["block"], labels)
    with paper_style():
        ax = axes_or_new(ax)
        threshold = _linear_below(frame)
        if threshold:
            ax.set_xscale("symlog", linthresh=threshold)
            ax.set_yscale("symlog", linthresh=threshold)
        ax.axhline(0, color=GREY, linewidth=0.6)
        x = frame["direct"].to_numpy(float)
        known = x[np.isfinite(x)]
        if known.size:
            low, high = min(float(known.min()), 0.0), max(float(known.max()), 0.0)
            line = np.unique([*np.linspace(low, high, 200), *known])
            ax.plot(line, line, color=GREY, linewidth=0.8, linestyle=DOTTED)
        style = look(0, colours)
        ax.errorbar(
            x, frame["total"], interval_whiskers(frame, "total"),
            interval_whiskers(frame, "direct"), linestyle="", marker=style.marker,
            color=style.colour, markersize=3, elinewidth=0.5,
        )  # fmt: skip
        ax.set_xlabel("Direct effect on the right logit")
        ax.set_ylabel("Total effect, by deletion")
        if legend:
            handles = [
                proxy(names[0], marker=style.marker, color=style.colour),
                proxy("no repair", color=GREY, linestyle=DOTTED),
                whiskers("95% interval"),
                *counted([frame]),
            ]
            legend_above(ax, handles)
    return ax


def _require(frame: pd.DataFrame, *more: str) -> None:
    ends = [f"{name}_{end}" for name in _EFFECTS for end in ("low", "high")]
    require_columns(frame, *more, *_EFFECTS, *ends)


def _linear_below(frame: pd.DataFrame) -> float:
    """Where logarithmic axes are linear around nought; 0 where all can be linear."""
    values = frame[list(_EFFECTS)].abs().to_numpy(float)
    values = values[np.isfinite(values) & (values > 0)]
    if not values.size or values.max() < _WIDE * np.median(values):
        return 0.0
    return float(10 ** np.floor(np.log10(np.median(values))))
