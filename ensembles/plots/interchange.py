"""The figure of interchange: two matrices of divergences, and both by distance."""

from __future__ import annotations

from collections.abc import Sequence
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
from ensembles.plots.style import curve_names, legend_above, look, paper_style, whiskers
from ensembles.statistics import median_interval
from ensembles.tables.networks import all_networks, one_network
from ensembles.tables.schema import require_columns

__all__ = ["divergence_by_distance", "plot_interchange"]

_KL = "KL(intact || lesioned) (nats)"
_WHAT = {"replaced": "Branch that runs there too", "exchanged": "Block exchanged with it"}


def plot_interchange(
    frames: pd.DataFrame | Sequence[pd.DataFrame],
    path: str | Path | None = None,
    *,
    axes: Sequence[Axes] | None = None,
    labels: Sequence[str] | None = None,
    colours: Sequence[str] | None = None,
    colour_map: str | None = None,
    legend: bool = True,
) -> Figure:
    """Draw both matrices of each network on one scale of ratios, and their medians by distance.

    Args:
        frames: Table of ``ensembles.analyze(net, data, "interchange")`` of one network, one for
            each network, or one that :func:`ensembles.tables.stack_frames` put together.
        path: File to write (``.png``, ``.pdf`` or ``.svg``); None writes nothing.
        axes: Axes to draw into, three for each network (replaced, exchanged, by distance); a new
            figure's where None.
        labels: What x axes call the networks; by default their models, where there are several.
        colours: Those of the two curves.
        colour_map: Name of a colour map of matplotlib's, for the matrices.
        legend: Whether curves have a legend, and matrices a colour bar.

    Returns:
        The figure, as wide as a paper's column, or that of ``axes``.

    Raises:
        UsageError: A column is missing, no divergence is above 0, axes or labels are more or fewer
            than needed, or the file's ending is unknown.
        OutputError: The file cannot be written.
    """
    tables = all_networks(frames, labels, key=("block", "other"))
    for table in tables:
        require_columns(table, "block", "other", "distance", *_WHAT)
    both = pd.concat([table[name] for table in tables for name in _WHAT])
    known = both[both > 0]
    if known.empty:
        raise UsageError("no divergence is above 0; there is no figure")
    limits = (float(known.min()), float(known.max()))

    def panels(frame: pd.DataFrame) -> list[Panel]:
        matrices = [
            Panel(name, partial(
                heat_map, frame, x="block", y="other", value=name, labels=("Place", what, _KL),
                limits=limits, logarithmic=True, bar="bottom", colours=colour_map, legend=legend,
            ))
            for name, what in _WHAT.items()
        ]  # fmt: skip
        curves = partial(divergence_by_distance, frame, colours=colours, legend=legend)
        return [*matrices, Panel("distance", curves)]

    return network_panels(tables, panels, path, axes=axes, labels=labels, height=2.7)


def divergence_by_distance(
    frame: pd.DataFrame,
    *,
    ax: Axes | None = None,
    labels: Sequence[str] | None = None,
    colours: Sequence[str] | None = None,
    legend: bool = True,
) -> Axes:
    """Medians of both divergences over pairs that are equally far apart.

    Whiskers: 95 % bootstrap interval of the median over pairs.

    Args:
        frame: A table of interchange of one network.
        ax: Axes to draw into; a new figure's where None.
        labels: What the legend calls the two; by default as the table does.
        colours: Those of the curves, in the order of the legend.
        legend: Whether there is one, above the axes.

    Returns:
        The axes: x distance in blocks, y divergence in nats.

    Raises:
        UsageError: A column is missing, the table holds several networks, or there are not two
            labels.
    """
    require_columns(frame, "distance", *_WHAT)
    frame = one_network(frame, "a panel of distances", "block", "other")
    names = curve_names(list(_WHAT), labels)
    distances = sorted(set(frame["distance"].astype(int)))
    with paper_style():
        ax = axes_or_new(ax)
        ax.set_yscale("log")
        ax.xaxis.set_major_locator(MaxNLocator(8, integer=True))
        for index, (column, name) in enumerate(zip(_WHAT, names, strict=True)):
            found = [
                median_interval(frame.loc[frame["distance"] == distance, column])
                for distance in distances
            ]
            y = [one.value for one in found]
            ends = [
                [one.value - one.low for one in found], [one.high - one.value for one in found],
            ]  # fmt: skip
            ax.errorbar(
                distances, y, ends, label=name, elinewidth=0.6, markersize=3,
                **look(index, colours).line,
            )  # fmt: skip
        if len(distances) == 1:  # else the axis would be of fractions
            ax.set_xlim(distances[0] - 1, distances[0] + 1)
        ax.set_xlabel("Distance between the two blocks")
        ax.set_ylabel(f"{_KL},\nmedian over pairs")
        if legend:
            curves = ax.get_legend_handles_labels()[0]
            legend_above(ax, [*curves, whiskers("bootstrap 95% interval"), *counted([frame])])
    return ax
