"""Our errors over others': medians and quartiles of several studies in one figure."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, MaxNLocator

from ensembles.plots.layout import axes_or_new
from ensembles.plots.measures import Measure
from ensembles.plots.style import DOTTED, INK, legend_above, look, paper_style, proxy
from ensembles.statistics import require_columns

__all__ = ["error_quartiles"]

_TICKS = 8


def error_quartiles(*tables: pd.DataFrame, x: str, xlabel: str, ax: Axes | None = None) -> Axes:
    """Median error with quartiles by the size of a lesion, one series a study.

    The first study has a band between its quartiles, the others whiskers and hollow markers. Where
    ``x`` is ``tau`` the axis falls from 1, as in the paper; where there are few sizes, each has its
    tick. Dotted: chance level, of the first study's ``attrs["chance"]``.

    Args:
        tables: One a study: columns ``x``, ``q1``, ``median``, ``q3`` (shares); ``attrs["model"]``
            is its name.
        x: Column of the size.
        xlabel: What it is.
        ax: Axes to draw into; a new figure's where None.

    Returns:
        The axes: y top-1 error as a share.

    Raises:
        UsageError: A column is missing.
    """
    for table in tables:
        require_columns(table, x, "q1", "median", "q3")
    with paper_style():
        ax = axes_or_new(ax)
        handles: list[Artist] = []
        for index, table in enumerate(tables):
            handles.append(_draw(ax, table.sort_values(x), x, index))
        top = max(float(table["q3"].max()) for table in tables)
        chance = tables[0].attrs.get("chance")
        if chance:
            ax.axhline(chance, color=INK, linestyle=DOTTED, linewidth=0.9, zorder=1.5)
            handles.append(proxy("chance", linestyle=DOTTED, linewidth=0.9))
            top = max(top, float(chance))
        _axes(ax, tables, x, xlabel, top)
        legend_above(ax, handles)
    return ax


def _draw(ax: Axes, table: pd.DataFrame, x: str, index: int) -> Line2D:
    style, label = look(index), str(table.attrs.get("model", f"study {index + 1}"))
    if index == 0:
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


def _axes(ax: Axes, tables: Sequence[pd.DataFrame], x: str, xlabel: str, top: float) -> None:
    ax.set_ylim(0, min(1.04 * top, 1.02) or 1)
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
    ax.set_xlabel(xlabel)
    Measure.of((), "error").finish(ax)
