"""Our errors over others': medians and quartiles of several studies in one figure."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, MaxNLocator

from ensembles.plots.interval_marks import band_entry
from ensembles.plots.layout import axes_or_new
from ensembles.plots.measures import Measure, Range, Scale
from ensembles.plots.style import Look, legend_above, look, paper_style
from ensembles.statistics import require_columns
from ensembles.tables.networks import all_networks, require_once, series_labels, split_frames

__all__ = ["error_quartiles"]

_TICKS = 8


def error_quartiles(
    *tables: pd.DataFrame,
    x: str,
    xlabel: str,
    ax: Axes | None = None,
    labels: Sequence[str] | None = None,
    colours: Sequence[str] | None = None,
    legend: bool = True,
    scale: Scale = "linear",
) -> Axes:
    """Median error with quartiles by the size of a lesion, one series a study.

    The first study has a band between its quartiles, the others whiskers and hollow markers. Where
    ``x`` is ``tau`` the axis falls from 1, as in the paper; where there are few sizes, each has its
    tick. Dotted: chance level, ``attrs["chance"]``.

    Args:
        tables: One a study: columns ``x``, ``q1``, ``median``, ``q3`` (shares); ``attrs["model"]``
            is its name. A column ``network``, as summaries of several networks have it, tells
            studies of one table apart.
        x: Column of the size.
        xlabel: What it is.
        ax: Axes to draw into; a new figure's where None.
        labels: What the legend calls the studies; by default their models.
        colours: Those of the studies; by default a palette for all kinds of colour vision.
        legend: Whether there is one, above the axes.
        scale: Of the y axis: ``linear``, ``log`` or ``symlog``.

    Returns:
        The axes: y top-1 error as a share.

    Raises:
        UsageError: A column is missing, a table holds a size twice, or there are more or fewer
            labels than studies.
    """
    tables = tuple(part for table in tables for part in _studies(table, x))
    measure, drawn = Measure.of((), "error", scale), Range()
    names = [str(one.attrs.get("model", f"study {n}")) for n, one in enumerate(tables, 1)]
    if labels is not None:
        names = series_labels(all_networks(tables, labels))
    with paper_style():
        ax = axes_or_new(ax)
        handles: list[Artist] = []
        for index, (table, name) in enumerate(zip(tables, names, strict=True)):
            drawn.add(table["q1"], table["q3"])
            rows, style = table.sort_values(x), look(index, colours)
            handles.append(_draw(ax, rows, x, name, style, band=index == 0))
        shown = "band, whiskers: quartiles" if len(tables) > 1 else "quartiles"
        handles.append(band_entry(shown))
        handles += measure.draw_chances(ax, tables, drawn)
        measure.limit(ax, drawn.lowest, drawn.highest)
        _sizes(ax, tables, x)
        ax.set_xlabel(xlabel)
        measure.finish(ax)
        if legend:
            legend_above(ax, handles)
    return ax


def _studies(table: pd.DataFrame, x: str) -> list[pd.DataFrame]:
    """A table for each network of a summary.

    Raises:
        UsageError: A column is missing, or a network has a size twice.
    """
    require_columns(table, x, "q1", "median", "q3")
    parts = []
    for whole in split_frames(table):
        if "network" not in whole.columns:
            parts.append(whole)
            continue
        for name, rows in whole.groupby("network", sort=False):
            part = rows.reset_index(drop=True)
            part.attrs = {**whole.attrs, "model": str(name)}
            parts.append(part)
    for part in parts:
        require_once(part, (x,))
    return parts


def _draw(ax: Axes, table: pd.DataFrame, x: str, label: str, style: Look, *, band: bool) -> Line2D:
    if band:
        ax.fill_between(
            table[x], table["q1"], table["q3"], color=style.colour, alpha=0.25, linewidth=0
        )
        [line] = ax.plot(table[x], table["median"], label=label, zorder=3, **style.line)
        return line
    hollow = style.line | {"markerfacecolor": "white", "markersize": 3.5}
    middle = table["median"]
    spread = np.array([middle - table["q1"], table["q3"] - middle])
    ax.errorbar(table[x], middle, yerr=spread, elinewidth=0.6, zorder=2, **hollow)
    return Line2D([], [], label=label, **hollow)


def _sizes(ax: Axes, tables: Sequence[pd.DataFrame], x: str) -> None:
    """Range and ticks of the axis of sizes."""
    if x == "tau":
        lowest = min(float(table[x].min()) for table in tables)
        pad = 0.03 * max(1 - lowest, 1e-3)
        ax.set_xlim(1 + pad, lowest - pad)
    else:
        sizes = sorted({int(size) for table in tables for size in table[x]})
        few = len(sizes) <= _TICKS
        ax.xaxis.set_major_locator(
            FixedLocator(sizes) if few else MaxNLocator(nbins=_TICKS, integer=True)
        )
