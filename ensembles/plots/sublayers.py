"""The figure of sublayers: removed by themselves, and more and more of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from ensembles.plots.layout import axes_or_new, letters, make_room, new_figure, panel_letter
from ensembles.plots.rise_axis import RISE, rise_axis
from ensembles.plots.style import legend_above, look, paper_style, proxy, save_figure
from ensembles.tables.networks import all_networks, series_labels
from ensembles.tables.schema import require_columns

__all__ = ["cost_by_layer", "cost_by_share", "plot_sublayers"]

_KINDS = {"attention": "attention", "mlp": "MLP", "both": "both", "either": "either"}
_ORDERS = {"loss": ("order by loss", "-"), "influence": ("order by influence", (0, (2, 1.5)))}


def plot_sublayers(
    frames: pd.DataFrame | Sequence[pd.DataFrame], path: str | Path | None = None
) -> Figure:
    """Draw the cost of each layer's sublayers, and of more and more of them, panels a network.

    Args:
        frames: Table of ``ensembles.analyze(net, data, "sublayers")`` of one network, one for each
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
    figure, axes = new_figure(2 * len(tables), height=2.4)
    panels = [(table, draw) for table in tables for draw in (cost_by_layer, cost_by_share)]
    labels = [label for label in series_labels(tables) for _ in range(2)]
    for letter, ax, (table, draw), label in zip(letters(), axes, panels, labels, strict=False):
        draw(table, ax=ax)
        panel_letter(ax, letter)
        if len(tables) > 1:
            ax.set_xlabel(f"{ax.get_xlabel()} of {label}")
    figure.align_ylabels(axes)
    make_room(figure, axes)
    if path is not None:
        save_figure(figure, path)
    return figure


def cost_by_layer(
    frame: pd.DataFrame,
    *,
    ax: Axes | None = None,
    colours: Sequence[str] | None = None,
    legend: bool = True,
) -> Axes:
    """The rise of the loss without the attention, the MLP, or both of each layer.

    Whiskers: 95 % interval, paired over rows of the data.

    Args:
        frame: A table of sublayers of one network.
        ax: Axes to draw into; a new figure's where None.
        colours: Those of the curves, in the order of the legend.
        legend: Whether to draw one.

    Raises:
        UsageError: A column is missing.
    """
    require_columns(frame, "removed", "order", "layer", "loss_rise", *_ends("loss_rise"))
    alone = frame[frame["order"] == "alone"]
    with paper_style():
        ax = axes_or_new(ax)
        rise_axis(ax, alone["loss_rise"])
        for index, removed in enumerate(_KINDS):
            rows = alone[alone["removed"] == removed]
            if rows.empty:
                continue
            y = rows["loss_rise"].to_numpy(float)
            low, high = (rows[name].to_numpy(float) for name in _ends("loss_rise"))
            ends = [np.nan_to_num((y - low).clip(min=0)), np.nan_to_num((high - y).clip(min=0))]
            ax.errorbar(
                rows["layer"].to_numpy(float) + 0.1 * (index - 1), y, ends, label=_KINDS[removed],
                elinewidth=0.6, markersize=3, **look(index, colours).line,
            )  # fmt: skip
        ax.xaxis.set_major_locator(MaxNLocator(8, integer=True))
        ax.set_xlabel("Layer")
        ax.set_ylabel(RISE)
        if legend:
            legend_above(ax, ax.get_legend_handles_labels()[0])
    return ax


def cost_by_share(
    frame: pd.DataFrame,
    *,
    ax: Axes | None = None,
    colours: Sequence[str] | None = None,
    legend: bool = True,
) -> Axes:
    """The rise of the loss against the share of a kind that is removed.

    Solid where each step was chosen by the measured loss, dashed where all were by influence.
    Bands: 95 % interval, paired over the rows of the data that nothing was chosen on.

    Args:
        frame: A table of sublayers of one network.
        ax: Axes to draw into; a new figure's where None.
        colours: Those of the kinds, in the order of the legend.
        legend: Whether to draw one.

    Raises:
        UsageError: A column is missing.
    """
    require_columns(frame, "removed", "order", "step", "share", "loss_rise", *_ends("loss_rise"))
    curves = frame[frame["order"] != "alone"]
    with paper_style():
        ax = axes_or_new(ax)
        rise_axis(ax, curves["loss_rise"])
        handles = []
        for index, removed in enumerate(_KINDS):
            style = look(index, colours)
            for order, (_, dash) in _ORDERS.items():
                rows = curves[(curves["removed"] == removed) & (curves["order"] == order)]
                if rows.empty:
                    continue
                x, y = rows["share"].to_numpy(float), rows["loss_rise"].to_numpy(float)
                ax.plot(
                    x, y, color=style.colour, marker=style.marker, markersize=2.5, linestyle=dash
                )
                low, high = (rows[name].to_numpy(float) for name in _ends("loss_rise"))
                ax.fill_between(x, low, high, color=style.colour, alpha=0.1, linewidth=0)
            if removed in set(curves["removed"]):
                handles.append(
                    proxy(_KINDS[removed], color=style.colour, marker=style.marker, markersize=3)
                )
        handles += [
            proxy(label, linestyle=dash)
            for order, (label, dash) in _ORDERS.items()
            if order in set(curves["order"])
        ]
        ax.xaxis.set_major_formatter(PercentFormatter(1))
        ax.set_xlabel("Share removed")
        ax.set_ylabel(RISE)
        if legend:
            legend_above(ax, handles)
    return ax


def _ends(name: str) -> tuple[str, str]:
    return f"{name}_low", f"{name}_high"
