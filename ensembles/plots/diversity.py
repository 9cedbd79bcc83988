"""The figure of diversity: disagreement against accuracy, and averages of more and more members."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ensembles.plots.interval_marks import band_entry, interval_band
from ensembles.plots.layout import Panel, axes_or_new, draw_panels
from ensembles.plots.measures import counted
from ensembles.plots.style import DOTTED, legend_above, look, paper_style, whiskers
from ensembles.tables.networks import all_networks, series_labels
from ensembles.tables.schema import require_columns

__all__ = ["average_by_members", "disagreement_by_accuracy", "plot_diversity"]

_WHAT = {"error": "Error of the average", "brier": "Brier score\nof the average"}


def plot_diversity(
    frames: pd.DataFrame | Sequence[pd.DataFrame],
    path: str | Path | None = None,
    *,
    axes: Sequence[Axes] | None = None,
    labels: Sequence[str] | None = None,
    colours: Sequence[str] | None = None,
    legend: bool = True,
) -> Figure:
    """Draw relative disagreement by accuracy, and error and Brier score by number of members.

    Args:
        frames: Table of ``ensembles.analyze(net, data, "diversity")`` of one network, one for each
            network, or one that :func:`ensembles.tables.stack_frames` put together.
        path: File to write (``.png``, ``.pdf`` or ``.svg``); None writes nothing.
        axes: Axes to draw into: three, for disagreement, error and Brier score; a new figure's
            where None.
        labels: What the legend calls the networks; by default their models.
        colours: Those of the networks; by default a palette for all kinds of colour vision.
        legend: Whether the first panel has one.

    Returns:
        The figure, as wide as a paper's column, or that of ``axes``.

    Raises:
        UsageError: A column is missing, axes or labels are more or fewer than needed, or the
            file's ending is unknown.
        OutputError: The file cannot be written.
    """
    tables = all_networks(frames, labels, key=("role", "members", "deleted"))
    panels = [
        Panel("disagreement", partial(
            disagreement_by_accuracy, *tables, colours=colours, legend=legend
        )),
        *(
            Panel(column, partial(
                average_by_members, *tables, column=column, colours=colours, legend=False
            ))
            for column in _WHAT
        ),
    ]  # fmt: skip
    return draw_panels(panels, path, axes=axes, height=2.1)


def disagreement_by_accuracy(
    *frames: pd.DataFrame,
    ax: Axes | None = None,
    labels: Sequence[str] | None = None,
    colours: Sequence[str] | None = None,
    legend: bool = True,
) -> Axes:
    """Disagreement with the other members over the sum of both errors, by accuracy: a point each.

    At 1 two members are never wrong at once, at 0 they answer alike. Whiskers: 95 % interval.

    Args:
        frames: Table of diversity of each network.
        ax: Axes to draw into; a new figure's where None.
        labels: What the legend calls the networks; by default their models.
        colours: Those of the networks.
        legend: Whether there is one, above the axes.

    Returns:
        The axes: x accuracy, y disagreement over the sum of both errors.

    Raises:
        UsageError: A column is missing, or labels are more or fewer than the networks.
    """
    frames = tuple(all_networks(frames, labels, key=("role", "members", "deleted")))
    with paper_style():
        ax = axes_or_new(ax)
        for index, (frame, label) in enumerate(zip(frames, series_labels(frames), strict=True)):
            column = "relative_disagreement"
            require_columns(frame, "role", "error", column)
            rows = frame[frame["role"] == "member"]
            y, low, high = (
                rows.get(f"{column}{end}", rows[column]).to_numpy(float)
                for end in ("", "_low", "_high")
            )
            ends = [np.clip(y - low, 0, None), np.clip(high - y, 0, None)]
            style = look(index, colours).line | {"linestyle": "", "markersize": 3}
            ax.errorbar(
                1 - rows["error"].to_numpy(float), y, ends, label=label, elinewidth=0.6, **style
            )
        ax.set_xlabel("Accuracy of the member")
        ax.set_ylabel("Disagreement with others\nover both errors")
        ax.set_ylim(bottom=0)
        if legend:
            drawn = ax.get_legend_handles_labels()[0]
            legend_above(ax, [*drawn, whiskers("95% interval"), *counted(frames)])
    return ax


def average_by_members(
    *frames: pd.DataFrame,
    column: str = "error",
    ax: Axes | None = None,
    labels: Sequence[str] | None = None,
    colours: Sequence[str] | None = None,
    legend: bool = True,
) -> Axes:
    """One column of tables of diversity by the number of members in the average.

    Bands are its 95 % intervals, one member is the mean over members, dotted the intact network.

    Args:
        frames: Table of diversity of each network.
        column: What is drawn.
        ax: Axes to draw into; a new figure's where None.
        labels: What the legend calls the networks; by default their models.
        colours: Those of the networks.
        legend: Whether there is one, above the axes.

    Returns:
        The axes: x number of members, y the column.

    Raises:
        UsageError: A column is missing, or labels are more or fewer than the networks.
    """
    frames = tuple(all_networks(frames, labels, key=("role", "members", "deleted")))
    with paper_style():
        ax = axes_or_new(ax)
        banded = False
        for index, (frame, label) in enumerate(zip(frames, series_labels(frames), strict=True)):
            require_columns(frame, "role", "members", column)
            style = look(index, colours)
            alone = frame[frame["role"] == "member"]
            rows = frame[frame["role"] == "average"].sort_values("members")
            x = [1, *rows["members"]]
            y = [alone[column].mean(), *rows[column]]
            ax.plot(x, y, label=label, markersize=2.5, **style.line)
            banded |= interval_band(ax, x[1:], rows, column, style.colour)
            intact = frame.loc[frame["role"] == "intact", column]
            if len(intact):
                ax.axhline(
                    float(intact.iloc[0]), color=style.colour, linewidth=0.8, linestyle=DOTTED
                )
        ax.xaxis.set_major_locator(MaxNLocator(8, integer=True))
        ax.set_xlabel("Members (dotted: intact network)")
        ax.set_ylabel(_WHAT.get(column, column))
        ax.set_ylim(bottom=0)
        if legend:
            drawn = ax.get_legend_handles_labels()[0]
            band = [band_entry()]
            legend_above(ax, [*drawn, *(band if banded else []), *counted(frames)])
    return ax
