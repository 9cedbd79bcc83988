"""The figure of sublayers: removed by themselves, and more and more of them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from ensembles.plots.interval_marks import band_entry, interval_whiskers
from ensembles.plots.layout import Panel, axes_or_new
from ensembles.plots.measures import counted
from ensembles.plots.network_panels import network_panels
from ensembles.plots.rise_axis import RISE, rise_axis
from ensembles.plots.style import (
    curve_names,
    legend_above,
    look,
    paper_style,
    proxy,
    whiskers,
)
from ensembles.tables.networks import one_network
from ensembles.tables.schema import require_columns

__all__ = ["cost_by_layer", "cost_by_share", "plot_sublayers"]

_KINDS = {"attention": "attention", "mlp": "MLP", "both": "both", "either": "either"}
_ORDERS = {"loss": ("order by loss", "-"), "influence": ("order by influence", (0, (2, 1.5)))}


def plot_sublayers(
    frames: pd.DataFrame | Sequence[pd.DataFrame],
    path: str | Path | None = None,
    *,
    axes: Sequence[Axes] | None = None,
    labels: Sequence[str] | None = None,
    colours: Sequence[str] | None = None,
    legend: bool = True,
) -> Figure:
    """Draw the cost of each layer's sublayers, and of more and more of them, panels a network.

    Args:
        frames: Table of ``ensembles.analyze(net, data, "sublayers")`` of one network, one for each
            network, or one that :func:`ensembles.tables.stack_frames` put together.
        path: File to write (``.png``, ``.pdf`` or ``.svg``); None writes nothing.
        axes: Axes to draw into, two for each network (by layer, by share); a new
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
        drawn = {"layer": cost_by_layer, "share": cost_by_share}
        return [
            Panel(name, partial(draw, frame, colours=colours, legend=legend))
            for name, draw in drawn.items()
        ]

    return network_panels(frames, panels, path, axes=axes, labels=labels, height=2.4)


def cost_by_layer(
    frame: pd.DataFrame,
    *,
    ax: Axes | None = None,
    labels: Sequence[str] | None = None,
    colours: Sequence[str] | None = None,
    legend: bool = True,
) -> Axes:
    """The rise of the loss without the attention, the MLP, or both of each layer.

    Whiskers: 95 % interval, paired over rows of the data.

    Args:
        frame: A table of sublayers of one network.
        ax: Axes to draw into; a new figure's where None.
        labels: What the legend calls the curves; by default as here.
        colours: Those of the curves, in the order of the legend.
        legend: Whether there is one, above the axes.

    Returns:
        The axes: x layer, y rise of the loss in nats.

    Raises:
        UsageError: A column is missing, the table holds several networks, or labels are more or
            fewer than the curves.
    """
    require_columns(frame, "removed", "order", "layer", "loss_rise", *_ends("loss_rise"))
    frame = one_network(frame, "a panel of sublayers", "removed", "order", "step", "layer")
    alone = frame[frame["order"] == "alone"]
    with paper_style():
        ax = axes_or_new(ax)
        rise_axis(ax, alone["loss_rise"])
        kinds = [kind for kind in _KINDS if kind in set(alone["removed"])]
        names = curve_names([_KINDS[kind] for kind in kinds], labels)
        for removed, name in zip(kinds, names, strict=True):
            index = list(_KINDS).index(removed)
            rows = alone[alone["removed"] == removed]
            y = rows["loss_rise"].to_numpy(float)
            ends = interval_whiskers(rows, "loss_rise")
            ax.errorbar(
                rows["layer"].to_numpy(float) + 0.1 * (index - 1), y, ends, label=name,
                elinewidth=0.6, markersize=3, **look(index, colours).line,
            )  # fmt: skip
        ax.xaxis.set_major_locator(MaxNLocator(8, integer=True))
        ax.set_xlabel("Layer")
        ax.set_ylabel(RISE)
        if legend:
            curves = ax.get_legend_handles_labels()[0]
            legend_above(ax, [*curves, whiskers("95% interval"), *counted([frame])])
    return ax


def cost_by_share(
    frame: pd.DataFrame,
    *,
    ax: Axes | None = None,
    labels: Sequence[str] | None = None,
    colours: Sequence[str] | None = None,
    legend: bool = True,
) -> Axes:
    """The rise of the loss against the share of a kind that is removed.

    Solid where each step was chosen by the measured loss, dashed where all were by influence.
    Bands: 95 % interval, paired over the rows of the data that nothing was chosen on.

    Args:
        frame: A table of sublayers of one network.
        ax: Axes to draw into; a new figure's where None.
        labels: What the legend calls the curves; by default as here.
        colours: Those of the kinds, in the order of the legend.
        legend: Whether there is one, above the axes.

    Returns:
        The axes: x share of the sublayers that are removed, y rise of the loss in nats.

    Raises:
        UsageError: A column is missing, the table holds several networks, or labels are more or
            fewer than the curves.
    """
    require_columns(frame, "removed", "order", "step", "share", "loss_rise", *_ends("loss_rise"))
    frame = one_network(frame, "a panel of sublayers", "removed", "order", "step", "layer")
    curves = frame[frame["order"] != "alone"]
    with paper_style():
        ax = axes_or_new(ax)
        rise_axis(ax, curves["loss_rise"])
        handles: list[Artist] = []
        kinds = [kind for kind in _KINDS if kind in set(curves["removed"])]
        names = curve_names([_KINDS[kind] for kind in kinds], labels)
        for removed, name in zip(kinds, names, strict=True):
            style = look(list(_KINDS).index(removed), colours)
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
            handles.append(proxy(name, color=style.colour, marker=style.marker, markersize=3))
        handles += [
            proxy(label, linestyle=dash)
            for order, (label, dash) in _ORDERS.items()
            if order in set(curves["order"])
        ]
        ax.xaxis.set_major_formatter(PercentFormatter(1))
        ax.set_xlabel("Share removed")
        ax.set_ylabel(RISE)
        if legend:
            band = band_entry()
            legend_above(ax, [*handles, band, *counted([frame])])
    return ax


def _ends(name: str) -> tuple[str, str]:
    return f"{name}_low", f"{name}_high"
