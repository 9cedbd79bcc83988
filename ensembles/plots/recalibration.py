"""The figure of recalibration: damage with trained and with new statistics, block by block."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ensembles.plots.layout import Panel, axes_or_new
from ensembles.plots.measures import Measure, Range, Scale, counted
from ensembles.plots.network_panels import network_panels
from ensembles.plots.style import (
    GREY,
    INTACT_DASH,
    curve_names,
    legend_above,
    look,
    paper_style,
    whiskers,
)
from ensembles.tables.networks import one_network
from ensembles.tables.schema import require_columns

__all__ = ["damage_recalibrated", "plot_recalibration"]


def plot_recalibration(
    frames: pd.DataFrame | Sequence[pd.DataFrame],
    path: str | Path | None = None,
    *,
    axes: Sequence[Axes] | None = None,
    labels: Sequence[str] | None = None,
    colours: Sequence[str] | None = None,
    legend: bool = True,
    scale: Scale = "linear",
) -> Figure:
    """Draw the error of each lesioned block before and after recalibration, a panel a network.

    Args:
        frames: Table of ``ensembles.analyze(net, data, "recalibration")`` of one network, one for
            each network, or one that :func:`ensembles.tables.stack_frames` put together.
        path: File to write (``.png``, ``.pdf`` or ``.svg``); None writes nothing.
        axes: Axes to draw into, one for each network; a new figure's where None.
        labels: What x axes call the networks; by default their models, where there are several.
        colours: Those of trained and of new statistics.
        legend: Whether panels have one.
        scale: Of the y axes: ``linear``, ``log`` or ``symlog``.

    Returns:
        The figure, as wide as a paper's column, or that of ``axes``.

    Raises:
        UsageError: A column is missing, axes or labels are more or fewer than the networks, or the
            file's ending is unknown.
        OutputError: The file cannot be written.
    """

    def panels(frame: pd.DataFrame) -> list[Panel]:
        draw = partial(damage_recalibrated, frame, colours=colours, legend=legend, scale=scale)
        return [Panel("error", draw)]

    return network_panels(frames, panels, path, axes=axes, labels=labels)


def damage_recalibrated(
    frame: pd.DataFrame,
    *,
    ax: Axes | None = None,
    labels: Sequence[str] | None = None,
    colours: Sequence[str] | None = None,
    legend: bool = True,
    scale: Scale = "linear",
) -> Axes:
    """Error of each lesioned block with trained statistics, and with recalibrated ones.

    Whiskers: 95 % interval of the difference, paired over rows of the data, drawn at the
    recalibrated network. Dashed: the intact network. Dotted: chance level.

    Args:
        frame: A table of recalibration of one network.
        ax: Axes to draw into; a new figure's where None.
        labels: What the legend calls trained and recalibrated statistics.
        colours: Those of the two.
        legend: Whether there is one, above the axes.
        scale: Of the y axis: ``linear``, ``log`` or ``symlog``.

    Returns:
        The axes: x block number, y the error as a share.

    Raises:
        UsageError: A column is missing, the table holds several networks, or there are not two
            labels.
    """
    require_columns(
        frame, "block", "error", "error_recalibrated", "error_gain_low", "error_gain_high"
    )
    frame = one_network(frame, "a panel of recalibration", "block")
    names = curve_names(["trained BatchNorm", "recalibrated"], labels)
    measure, drawn = Measure.of([frame], "error", scale), Range()
    with paper_style():
        ax = axes_or_new(ax)
        x, before = frame["block"].to_numpy(), frame["error"].to_numpy(float)
        after = frame["error_recalibrated"].to_numpy(float)
        ax.vlines(x, before, after, color=GREY, linewidth=0.6)
        first, second = look(0, colours), look(1, colours)
        handles: list[Any] = ax.plot(
            x, before, linestyle="", marker=first.marker, color=first.colour, label=names[0]
        )
        ends = before - frame["error_gain_high"], before - frame["error_gain_low"]
        around = [np.clip(after - ends[0], 0, None), np.clip(ends[1] - after, 0, None)]
        recalibrated = ax.errorbar(
            x, after, around, linestyle="", marker=second.marker, color=second.colour,
            elinewidth=0.6, label=names[1],
        )  # fmt: skip
        handles.append(recalibrated)
        drawn.add(np.fmin(before, after), np.fmax(before, after))
        intact = frame.attrs.get("intact_error")
        if intact is not None:
            handles.append(
                ax.axhline(intact, color=GREY, linewidth=0.8, linestyle=INTACT_DASH, label="intact")
            )
            drawn.add([intact])
        levels = measure.draw_chances(ax, [frame], drawn)
        measure.limit(ax, drawn.lowest, drawn.highest)
        ax.xaxis.set_major_locator(MaxNLocator(8, integer=True))
        ax.set_xlabel("Lesioned block")
        ax.margins(x=0.02)
        measure.finish(ax)
        if legend:
            told = whiskers("95% interval")
            legend_above(ax, [*handles, *levels, told, *counted([frame])])
    return ax
