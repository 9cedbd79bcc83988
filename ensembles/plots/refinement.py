"""The figure of refinement: errors of estimates, steps down the loss, and what is read out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ensembles.plots.layout import axes_or_new, letters, make_room, new_figure, panel_letter
from ensembles.plots.style import DOTTED, GREY, legend_above, look, paper_style, save_figure
from ensembles.tables.networks import all_networks, series_labels
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
    frames: pd.DataFrame | Sequence[pd.DataFrame], path: str | Path | None = None
) -> Figure:
    """Draw errors of estimation, cosines, changes of the loss and accuracies, block by block.

    Args:
        frames: Table of ``ensembles.analyze(net, data, "refinement")`` of one network, one for each
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
    figure, axes = new_figure((1 + len(_PANELS)) * len(tables), height=1.9)
    rest, names = iter(zip(letters(), axes, strict=False)), series_labels(tables)
    for table, label in zip(tables, names, strict=True):
        drawn = []
        letter, ax = next(rest)
        drawn.append((letter, estimation_errors(table, ax=ax)))
        for what, columns in _PANELS:
            letter, ax = next(rest)
            drawn.append((letter, curves_by_block(table, columns, what, ax=ax)))
        for letter, ax in drawn:
            panel_letter(ax, letter)
            if len(tables) > 1:
                ax.set_xlabel(f"{ax.get_xlabel()} of {label}")
    figure.align_ylabels(axes)
    make_room(figure, axes)
    if path is not None:
        save_figure(figure, path)
    return figure


def estimation_errors(
    frame: pd.DataFrame,
    *,
    ax: Axes | None = None,
    colours: Sequence[str] | None = None,
    legend: bool = True,
) -> Axes:
    """How far each block's output is from that of its stage: mean, and standard deviation as band.

    Args:
        frame: A table of refinement of one network.
        ax: Axes to draw into; a new figure's where None.
        colours: That of the curve, first.
        legend: Whether to draw one.

    Raises:
        UsageError: A column is missing.
    """
    require_columns(frame, "block", "stage", "error", "error_sd")
    with paper_style():
        ax = axes_or_new(ax)
        style = look(0, colours)
        ax.axhline(0, color=GREY, linewidth=0.6)
        for number, (_, part) in enumerate(frame.groupby("stage")):
            x, mean = part["block"].to_numpy(), part["error"].to_numpy(float)
            spread = part["error_sd"].to_numpy(float)
            ax.fill_between(
                x, mean - spread, mean + spread, color=style.colour, alpha=0.2, linewidth=0,
                label="± standard deviation" if not number else None,
            )  # fmt: skip
            ax.plot(x, mean, label="mean" if not number else None, markersize=2.5, **style.line)
        _finish(ax, frame, "Distance from the output\nof the stage (its RMS)", legend)
    return ax


def curves_by_block(
    frame: pd.DataFrame,
    columns: Mapping[str, str],
    label: str,
    *,
    ax: Axes | None = None,
    colours: Sequence[str] | None = None,
    legend: bool = True,
) -> Axes:
    """Columns of a table of refinement by block; bands are their 95 % intervals.

    Args:
        frame: The table, of one network.
        columns: What is drawn, with what the legend calls it; a column without numbers is left out.
        label: Of the y axis.
        ax: Axes to draw into; a new figure's where None.
        colours: Those of the curves.
        legend: Whether to draw one.

    Raises:
        UsageError: A column is missing.
    """
    require_columns(frame, "block", "stage", *columns)
    with paper_style():
        ax = axes_or_new(ax)
        lowest = 0.0
        for index, (column, name) in enumerate(columns.items()):
            y = frame[column].to_numpy(float)
            if not np.isfinite(y).any():
                continue
            lowest = min(lowest, float(np.nanmin(y)))
            style, x = look(index, colours), frame["block"].to_numpy()
            ax.plot(x, y, label=name, markersize=2.5, **style.line)
            ends = [frame.get(f"{column}_{end}") for end in ("low", "high")]
            if ends[0] is not None and ends[1] is not None:
                low, high = (np.asarray(one, float) for one in ends)
                ax.fill_between(x, low, high, color=style.colour, alpha=0.2, linewidth=0)
        if lowest < 0:
            ax.axhline(0, color=GREY, linewidth=0.6)
        _finish(ax, frame, label, legend)
    return ax


def _finish(ax: Axes, frame: pd.DataFrame, label: str, legend: bool) -> None:
    """Axes by block, with a line where a stage begins."""
    first = frame.groupby("stage")["block"].min().to_numpy()[1:]
    for place in first:
        ax.axvline(place - 0.5, color=GREY, linewidth=0.6, linestyle=DOTTED)
    ax.xaxis.set_major_locator(MaxNLocator(8, integer=True))
    ax.set_xlabel("Block")
    ax.set_ylabel(label)
    if legend:
        legend_above(ax, ax.get_legend_handles_labels()[0])
