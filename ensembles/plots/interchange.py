"""The figure of interchange: two matrices of divergences, and both by distance."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ensembles.errors import UsageError
from ensembles.plots.heat_map import heat_map
from ensembles.plots.layout import axes_or_new, letters, make_room, new_figure, panel_letter
from ensembles.plots.style import legend_above, look, paper_style, save_figure
from ensembles.statistics import median_interval
from ensembles.tables.networks import all_networks, series_labels
from ensembles.tables.schema import require_columns

__all__ = ["divergence_by_distance", "plot_interchange"]

_KL = "KL(intact || lesioned) (nats)"
_WHAT = {"replaced": "Branch that runs there too", "exchanged": "Block exchanged with it"}


def plot_interchange(
    frames: pd.DataFrame | Sequence[pd.DataFrame], path: str | Path | None = None
) -> Figure:
    """Draw both matrices of each network on one scale of ratios, and their medians by distance.

    Args:
        frames: Table of ``ensembles.analyze(net, data, "interchange")`` of one network, one for
            each network, or one that :func:`ensembles.tables.stack_frames` put together.
        path: File to write (``.png``, ``.pdf`` or ``.svg``); None writes nothing.

    Returns:
        The figure, as wide as a paper's column.

    Raises:
        UsageError: A column is missing, no divergence is above 0, or the file's ending is unknown.
        OutputError: The file cannot be written.
    """
    given = [frames] if isinstance(frames, pd.DataFrame) else list(frames)
    tables = all_networks(given)
    for table in tables:
        require_columns(table, "block", "other", "distance", *_WHAT)
    both = pd.concat([table[name] for table in tables for name in _WHAT])
    known = both[both > 0]
    if known.empty:
        raise UsageError("no divergence is above 0; there is no figure")
    figure, axes = new_figure(3 * len(tables), height=2.7)
    panels = [(table, name) for table in tables for name in (*_WHAT, "distance")]
    labels = [label for label in series_labels(tables) for _ in range(3)]
    for letter, ax, (table, name), label in zip(letters(), axes, panels, labels, strict=False):
        if name == "distance":
            divergence_by_distance(table, ax=ax)
        else:
            heat_map(
                table, x="block", y="other", value=name, labels=("Place", _WHAT[name], _KL),
                limits=(float(known.min()), float(known.max())), logarithmic=True, bar="bottom",
                ax=ax,
            )  # fmt: skip
        panel_letter(ax, letter)
        if len(tables) > 1:
            ax.set_xlabel(f"{ax.get_xlabel()},\n{label}")
    make_room(figure, axes)
    if path is not None:
        save_figure(figure, path)
    return figure


def divergence_by_distance(
    frame: pd.DataFrame,
    *,
    ax: Axes | None = None,
    colours: Sequence[str] | None = None,
    legend: bool = True,
) -> Axes:
    """Medians of both divergences over pairs that are equally far apart.

    Whiskers: 95 % bootstrap interval of the median over pairs.

    Args:
        frame: A table of interchange of one network.
        ax: Axes to draw into; a new figure's where None.
        colours: Those of the curves, in the order of the legend.
        legend: Whether to draw one.

    Raises:
        UsageError: A column is missing.
    """
    require_columns(frame, "distance", *_WHAT)
    distances = sorted(set(frame["distance"].astype(int)))
    with paper_style():
        ax = axes_or_new(ax)
        ax.set_yscale("log")
        ax.xaxis.set_major_locator(MaxNLocator(8, integer=True))
        for index, name in enumerate(_WHAT):
            found = [
                median_interval(frame.loc[frame["distance"] == distance, name])
                for distance in distances
            ]
            y = [one.value for one in found]
            ends = [
                [one.value - one.low for one in found], [one.high - one.value for one in found],
            ]  # fmt: skip
            ax.errorbar(
                distances,
                y,
                ends,
                label=name,
                elinewidth=0.6,
                markersize=3,
                **look(index, colours).line,
            )
        ax.set_xlabel("Distance between the two blocks")
        ax.set_ylabel(f"{_KL},\nmedian over pairs")
        if legend:
            legend_above(ax, ax.get_legend_handles_labels()[0])
    return ax
