"""The figure of refinement: errors of estimates, steps down the loss, and what is read out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ensembles.plots.interval_marks import band_entry, interval_band
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
)
from ensembles.tables.networks import one_network
from ensembles.tables.schema import require_columns

__all__ = ["curves_by_block", "estimation_errors", "plot_refinement"]

_PANELS: tuple[tuple[str, dict[str, str]], ...] = (
    (
        "Cosine with minus\nthe gradient of the loss",
        {"cosine": "of the network", "lens_cosine": "of the network cut short"},
    ),
    (
        "Change of the loss\nby the block (nats)",
        {"change": "measured", "first_order": "first order"},
    ),
    ("Accuracy", {"accuracy": "network cut short", "fitted_accuracy": "fitted head"}),
)


def plot_refinement(
    frames: pd.DataFrame | Sequence[pd.DataFrame],
    path: str | Path | None = None,
    *,
    axes: Sequence[Axes] | None = None,
    labels: Sequence[str] | None = None,
    colours: Sequence[str] | None = None,
    legend: bool = True,
) -> Figure:
    """Draw errors of estimation, cosines, changes of the loss and accuracies, block by block.

    Args:
        frames: Table of ``ensembles.analyze(net, data, "refinement")`` of one network, one for each
            network, or one that :func:`ensembles.tables.stack_frames` put together.
        path: File to write (``.png``, ``.pdf`` or ``.svg``); None writes nothing.
        axes: Axes to draw into, four for each network; a new
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
        design = {"colours": colours, "legend": legend}
        drawn: list[Callable[..., Axes]] = [partial(estimation_errors, frame)]
        drawn += [partial(curves_by_block, frame, columns, what) for what, columns in _PANELS]
        names = ("estimates", "cosine", "change", "accuracy")
        return [
            Panel(name, partial(draw, **design)) for name, draw in zip(names, drawn, strict=True)
        ]

    return network_panels(frames, panels, path, axes=axes, labels=labels, height=1.9)


def estimation_errors(
    frame: pd.DataFrame,
    *,
    ax: Axes | None = None,
    labels: Sequence[str] | None = None,
    colours: Sequence[str] | None = None,
    legend: bool = True,
) -> Axes:
    """How far each block's output is from that of its stage: mean, and standard deviation as band.

    Args:
        frame: A table of refinement of one network.
        ax: Axes to draw into; a new figure's where None.
        labels: What the legend calls the curves; by default as here.
        colours: That of the curve, first.
        legend: Whether there is one, above the axes.

    Returns:
        The axes: x block number, y distance over the RMS of the stage's output.

    Raises:
        UsageError: A column is missing, the table holds several networks, or labels are more or
            fewer than the curves.
    """
    require_columns(frame, "block", "stage", "error", "error_sd")
    frame = one_network(frame, "a panel of refinement", "block")
    names = curve_names(["mean"], labels)
    with paper_style():
        ax = axes_or_new(ax)
        style = look(0, colours)
        ax.axhline(0, color=GREY, linewidth=0.6)
        for number, (_, part) in enumerate(frame.groupby("stage")):
            x, mean = part["block"].to_numpy(), part["error"].to_numpy(float)
            spread = part["error_sd"].to_numpy(float)
            ax.plot(x, mean, label=names[0] if not number else None, markersize=2.5, **style.line)
            ax.fill_between(
                x, mean - spread, mean + spread, color=style.colour, alpha=0.2, linewidth=0,
                label="± standard deviation" if not number else None,
            )  # fmt: skip
        _finish(ax, frame, "Distance from the output\nof the stage (its RMS)", legend)
    return ax


def curves_by_block(
    frame: pd.DataFrame,
    columns: Mapping[str, str],
    label: str,
    *,
    ax: Axes | None = None,
    labels: Sequence[str] | None = None,
    colours: Sequence[str] | None = None,
    legend: bool = True,
) -> Axes:
    """Columns of a table of refinement by block; bands are their 95 % intervals.

    Args:
        frame: The table, of one network.
        columns: What is drawn, with what the legend calls it; a column without numbers is left out.
        label: Of the y axis.
        ax: Axes to draw into; a new figure's where None.
        labels: What the legend calls the curves; by default as here.
        colours: Those of the curves.
        legend: Whether there is one, above the axes.

    Returns:
        The axes: x block number, y the columns.

    Raises:
        UsageError: A column is missing, the table holds several networks, or labels are more or
            fewer than the curves.
    """
    require_columns(frame, "block", "stage", *columns)
    frame = one_network(frame, "a panel of refinement", "block")
    known = [name for name in columns if np.isfinite(frame[name].to_numpy(float)).any()]
    names = curve_names([columns[name] for name in known], labels)
    with paper_style():
        ax = axes_or_new(ax)
        lowest = 0.0
        banded = False
        for column, name in zip(known, names, strict=True):
            index, y = list(columns).index(column), frame[column].to_numpy(float)
            lowest = min(lowest, float(np.nanmin(y)))
            style, x = look(index, colours), frame["block"].to_numpy()
            ax.plot(x, y, label=name, markersize=2.5, **style.line)
            banded |= interval_band(ax, x, frame, column, style.colour)
        if lowest < 0:
            ax.axhline(0, color=GREY, linewidth=0.6)
        _finish(ax, frame, label, legend, banded=banded)
    return ax


def _finish(
    ax: Axes, frame: pd.DataFrame, label: str, legend: bool, *, banded: bool = False
) -> None:
    """Axes by block, with a line where a stage begins."""
    first = frame.groupby("stage")["block"].min().to_numpy()[1:]
    for place in first:
        ax.axvline(place - 0.5, color=GREY, linewidth=0.6, linestyle=DOTTED)
    ax.xaxis.set_major_locator(MaxNLocator(8, integer=True))
    ax.set_xlabel("Block")
    ax.set_ylabel(label)
    if legend:
        handles: list[Artist] = list(ax.get_legend_handles_labels()[0])
        if banded:
            handles.append(band_entry())
        legend_above(ax, [*handles, *counted([frame])])
