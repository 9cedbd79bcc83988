"""The figure of networks of equal size: error, robustness and effective depth by depth."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator, PercentFormatter, ScalarFormatter

from ensembles.plots.interval_marks import band_entry
from ensembles.plots.layout import Panel, axes_or_new, draw_panels
from ensembles.plots.style import (
    DOTTED,
    GREY,
    INK,
    curve_names,
    legend_above,
    look,
    paper_style,
    proxy,
    tint,
)
from ensembles.statistics import mean_interval
from ensembles.tables.networks import require_one_table
from ensembles.tables.schema import require_columns

__all__ = ["curve_by_layers", "plot_family"]

_PANELS = {
    "error": "Error",
    "median_rise": "Rise of the error after\none deletion (median)",
    "rms_median": "Effective depth\n(weight layers)",
}


def plot_family(
    networks: pd.DataFrame,
    path: str | Path | None = None,
    *,
    axes: Sequence[Axes] | None = None,
    labels: Sequence[str] | None = None,
    colours: Sequence[str] | None = None,
    legend: bool = True,
) -> Figure:
    """Draw networks of equal numbers of parameters by their depth, a curve for each family.

    Args:
        networks: What ``ensembles.family`` returned: a row for each network.
        path: File to write (``.png``, ``.pdf`` or ``.svg``); None writes nothing.
        axes: Axes to draw into: three, for error, rise and effective depth; a new figure's where
            None.
        labels: What the legend calls the families; by default as the table does.
        colours: Those of the families.
        legend: Whether the first panel has one.

    Returns:
        The figure: top-1 error, the median rise of the error over all single deletions, and the
        median length of paths by their RMS gradient, in weight layers, beside the whole depth.

    Raises:
        UsageError: A column is missing, the table holds families of two data sets, axes or labels
            are more or fewer than needed, or the file's ending is unknown.
        OutputError: The file cannot be written.
    """
    drawn = [
        Panel(
            column,
            partial(
                curve_by_layers, networks, column=column, labels=labels, colours=colours,
                legend=legend and place == 0,
            ),
        )
        for place, column in enumerate(_PANELS)
    ]  # fmt: skip
    return draw_panels(drawn, path, axes=axes, height=1.9)


def curve_by_layers(
    networks: pd.DataFrame,
    *,
    column: str = "error",
    ax: Axes | None = None,
    labels: Sequence[str] | None = None,
    colours: Sequence[str] | None = None,
    legend: bool = True,
) -> Axes:
    """One column of a table of networks of equal size by their depth, a curve for each family.

    Curves are means over seeds, bands their 95 % intervals (Student's), points single networks; of
    effective depth a dotted line is the whole depth.

    Args:
        networks: What ``ensembles.family`` returned: a row for each network.
        column: What is drawn.
        ax: Axes to draw into; a new figure's where None.
        labels: What the legend calls the families; by default as the table does.
        colours: Those of the families.
        legend: Whether there is one, above the axes.

    Returns:
        The axes: x depth in weight layers, on a scale of ratios, y the column.

    Raises:
        UsageError: A column is missing, the table holds families of two data sets, or labels are
            more or fewer than the families.
    """
    require_columns(networks, "family", "depth", column)
    require_one_table(networks, "a figure of a family", "family", "depth", "seed")
    families = networks.groupby("family", sort=False)
    names = curve_names([str(name) for name, _ in families], labels)
    ticks = sorted({int(depth) for depth in networks["depth"]})
    with paper_style():
        ax = axes_or_new(ax)
        for index, (name, (_, rows)) in enumerate(zip(names, families, strict=True)):
            style = look(index, colours)
            by_depth = rows.groupby("depth")[column]
            x = sorted({int(depth) for depth in rows["depth"]})
            mean, low, high = np.array([mean_interval(by_depth.get_group(d)) for d in x]).T
            ax.fill_between(x, low, high, color=style.colour, alpha=0.2, linewidth=0)
            ax.plot(
                rows["depth"], rows[column], linestyle="", marker=".", markersize=2.5,
                color=tint(style.colour),
            )  # fmt: skip
            ax.plot(x, mean, label=name, zorder=3, **style.line)
        if column == "rms_median":
            ax.plot(ticks, ticks, color=INK, linewidth=0.7, linestyle=DOTTED, zorder=1)
            ax.annotate(
                "dotted: all layers", (0.02, 0.97), xycoords="axes fraction", va="top",
                fontsize=7, color=INK,
            )  # fmt: skip
        elif column in _PANELS:
            ax.yaxis.set_major_formatter(PercentFormatter(1))
        ax.set_ylim(bottom=min(0, ax.get_ylim()[0]) if column == "median_rise" else 0)
        ax.set_xscale("log")
        ax.xaxis.set_major_locator(FixedLocator(ticks))
        ax.xaxis.set_minor_locator(NullLocator())
        ax.xaxis.set_major_formatter(ScalarFormatter())
        ax.set_xlabel("Depth (weight layers)")
        ax.set_ylabel(_PANELS.get(column, column.replace("_", " ")))
        if legend:
            curves = ax.get_legend_handles_labels()[0]
            each = proxy("single networks", marker=".", color=tint(GREY))
            band = band_entry("95% interval over seeds")
            legend_above(ax, [*curves, each, band])
    return ax
