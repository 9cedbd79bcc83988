"""The figure of criticality: what is left of the accuracy, by block."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ensembles.plots.interval_marks import interval_whiskers
from ensembles.plots.layout import Panel, axes_or_new
from ensembles.plots.measures import counted
from ensembles.plots.network_panels import network_panels
from ensembles.plots.style import curve_names, legend_above, look, paper_style, whiskers
from ensembles.tables.networks import one_network
from ensembles.tables.schema import require_columns

__all__ = ["plot_criticality", "recovered_by_block"]


def plot_criticality(
    frames: pd.DataFrame | Sequence[pd.DataFrame],
    path: str | Path | None = None,
    *,
    axes: Sequence[Axes] | None = None,
    labels: Sequence[str] | None = None,
    colours: Sequence[str] | None = None,
    legend: bool = True,
) -> Figure:
    """Draw what is left of the accuracy, by block, a panel a network.

    Args:
        frames: Table of ``ensembles.analyze(net, data, "criticality")`` of one network, one for
            each network, or one that :func:`ensembles.tables.stack_frames` put together.
        path: File to write (``.png``, ``.pdf`` or ``.svg``); None writes nothing.
        axes: Axes to draw into, one for each network; a new figure's where None.
        labels: What x axes call the networks; by default their models, where there are several.
        colours: Those of the curves, in the order of the legend.
        legend: Whether panels have one.

    Returns:
        The figure, as wide as a paper's column, or that of ``axes``.

    Raises:
        UsageError: A column is missing, axes or labels are more or fewer than the networks, or the
            file's ending is unknown.
        OutputError: The file cannot be written.
    """

    def panels(frame: pd.DataFrame) -> list[Panel]:
        draw = partial(recovered_by_block, frame, colours=colours, legend=legend)
        return [Panel("accuracy", draw)]

    return network_panels(frames, panels, path, axes=axes, labels=labels)


def recovered_by_block(
    frame: pd.DataFrame,
    *,
    ax: Axes | None = None,
    labels: Sequence[str] | None = None,
    colours: Sequence[str] | None = None,
    legend: bool = True,
) -> Axes:
    """Accuracy over that of the intact network, by block, a curve for each variant.

    Whiskers: 95 % interval, paired over rows of the data.

    Args:
        frame: A table of criticality of one network.
        ax: Axes to draw into; a new figure's where None.
        labels: What the legend calls the variants; by default as the table does.
        colours: Those of the curves, in the order of the legend.
        legend: Whether there is one, above the axes.

    Returns:
        The axes: x block number, y accuracy over that of the intact network.

    Raises:
        UsageError: A column is missing, the table holds several networks, or labels are more or
            fewer than the variants.
    """
    require_columns(frame, "block", "variant", "recovered", "recovered_low", "recovered_high")
    frame = one_network(frame, "a panel of criticality", "block", "variant")
    variants = frame.groupby("variant", sort=False)
    names = curve_names([str(name) for name, _ in variants], labels)
    with paper_style():
        ax = axes_or_new(ax)
        for index, (name, (_, rows)) in enumerate(zip(names, variants, strict=True)):
            style, y = look(index, colours), rows["recovered"].to_numpy(float)
            ends = interval_whiskers(rows, "recovered")
            ax.errorbar(
                rows["block"], y, ends, label=name, elinewidth=0.5, markersize=2.5, **style.line
            )
        ax.set_ylim(bottom=0)
        ax.xaxis.set_major_locator(MaxNLocator(8, integer=True))
        ax.set_xlabel("Block")
        ax.margins(x=0.02)
        ax.set_ylabel("Accuracy over that of\nthe intact network")
        if legend:
            curves = ax.get_legend_handles_labels()[0]
            legend_above(ax, [*curves, whiskers("95% interval"), *counted([frame])])
    return ax
