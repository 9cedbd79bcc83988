"""Matrices over blocks as heat maps with one colour scale."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, Literal

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import Colormap, LogNorm, Normalize, TwoSlopeNorm
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator
from seaborn import color_palette

from ensembles.analyses.base import HeatMap
from ensembles.errors import UsageError
from ensembles.plots.layout import Panel, axes_or_new, draw_panels
from ensembles.plots.measures import counted
from ensembles.plots.style import paper_style
from ensembles.tables.networks import all_networks, one_network, series_labels
from ensembles.tables.schema import require_columns

__all__ = ["heat_map", "heat_maps"]

_FEW = 30  # a scale over less than this ratio has few powers of ten


def heat_maps(
    frames: pd.DataFrame | Sequence[pd.DataFrame],
    shown: HeatMap,
    *,
    axes: Sequence[Axes] | None = None,
    labels: Sequence[str] | None = None,
    colours: str | None = None,
    legend: bool = True,
) -> Figure:
    """Draw a table of pairs of blocks for each network, one below the other, on one scale.

    Args:
        frames: A table of one network, one for each network, or one of several.
        shown: What of them is drawn.
        axes: Axes to draw into, one for each network; a new figure's where None.
        labels: What titles call the networks; by default their models, where there are several.
        colours: Name of a colour map of matplotlib's; by default see :func:`heat_map`.
        legend: Whether panels have a colour bar.

    Returns:
        The figure, as wide as a paper's column, or that of ``axes``.

    Raises:
        UsageError: If a column is missing, no value is finite, there is no such colour map, or
            axes or labels are more or fewer than the networks.
    """
    frames = all_networks(frames, labels, key=(shown.x, shown.y))
    for frame in frames:
        require_columns(frame, shown.x, shown.y, shown.value)
    parts = [one if shown.diagonal else one[one[shown.x] != one[shown.y]] for one in frames]
    values = np.concatenate([part[shown.value].to_numpy(float) for part in parts])
    known = values[np.isfinite(values) & ((values > 0) | (not shown.logarithmic))]
    if not known.size:
        raise UsageError(f"no finite value of {shown.value}; there is no figure")
    low = float(known.min()) if shown.low is None else shown.low
    drawn = [
        Panel(
            label,
            partial(
                heat_map, part, x=shown.x, y=shown.y, value=shown.value, labels=shown.labels,
                limits=(low, float(known.max())), logarithmic=shown.logarithmic, colours=colours,
                legend=legend, title=label if len(parts) > 1 or labels is not None else None,
            ),
        )
        for part, label in zip(parts, series_labels(frames), strict=True)
    ]  # fmt: skip
    return draw_panels(drawn, axes=axes, height=2.6)


def heat_map(
    frame: pd.DataFrame,
    *,
    x: str,
    y: str,
    value: str,
    labels: tuple[str, str, str] = ("", "", ""),
    limits: tuple[float, float] | None = None,
    logarithmic: bool = False,
    bar: Literal["right", "bottom"] = "right",
    ax: Axes | None = None,
    colours: str | None = None,
    legend: bool = True,
    title: str | None = None,
) -> Axes:
    """Draw one value of pairs of blocks; pairs that are not there stay white.

    The scale is diverging, with white at nought, where values have both signs; else it runs from
    light to dark.

    Args:
        frame: A table with a row for each pair.
        x: Column with the number that goes to the right.
        y: Column with the number that goes up.
        value: Column with what is drawn.
        labels: Of the x axis, the y axis and the colours; by default the names of the columns.
        limits: Smallest and largest value of the scale; by default those of the table.
        logarithmic: Whether the scale is one of ratios, for positive values alone.
        bar: Where the colour bar stands.
        ax: Axes to draw into; a new figure's where None.
        colours: Name of a colour map of matplotlib's in place of these two.
        legend: Whether there is a colour bar.
        title: Above the axes; none by default.

    Returns:
        The axes; their colour bar is beside them.

    Raises:
        UsageError: If a column is missing, no value is finite, or there is no such colour map.
    """
    require_columns(frame, x, y, value)
    if colours is not None and colours not in colormaps:
        raise UsageError(
            f"colour map {colours!r}; expected the name of one of matplotlib's, such as 'viridis'"
        )
    frame = one_network(frame, "a heat map", x, y)
    grid = frame.pivot_table(index=y, columns=x, values=value, aggfunc="mean", dropna=False)
    columns, rows = (
        range(int(axis.min()), int(axis.max()) + 1) for axis in (grid.columns, grid.index)
    )
    cells = grid.reindex(index=rows, columns=columns).to_numpy(float)
    known = cells[np.isfinite(cells)]
    if logarithmic:
        known = known[known > 0]
    if not known.size:
        raise UsageError(f"no finite value of {value}; there is no figure")
    with paper_style():
        ax = axes_or_new(ax)
        norm, usual = _scale(*(limits or (float(known.min()), float(known.max()))), logarithmic)
        chosen = usual if colours is None else colormaps[colours]
        edges = [np.arange(one.start, one.stop + 1) - 0.5 for one in (columns, rows)]
        mesh = ax.pcolormesh(*edges, cells, norm=norm, cmap=chosen, rasterized=True)
        ax.grid(visible=False)
        ax.set_aspect("equal")
        for axis in (ax.xaxis, ax.yaxis):
            axis.set_major_locator(MaxNLocator(6, integer=True))
        ax.set_xlabel(labels[0] or x)
        ax.set_ylabel(labels[1] or y)
        if legend:
            colour_bar = ax.figure.colorbar(mesh, ax=ax, shrink=0.8, location=bar)
            told = [labels[2] or value, *(str(one.get_label()) for one in counted([frame]))]
            colour_bar.set_label(", ".join(told))
            if logarithmic and norm.vmax < _FEW * norm.vmin:  # type: ignore[operator]
                colour_bar.set_ticks(LogLocator(subs=(1, 2, 5)), minor=False)
                colour_bar.ax.minorticks_off()
                colour_bar.formatter = FuncFormatter(lambda value, _: f"{value:g}")
        if title is not None:
            ax.set_title(title)
    return ax


def _scale(low: float, high: float, logarithmic: bool) -> tuple[Normalize, Colormap]:
    """What colour stands for what value."""
    light: Any = color_palette("rocket_r", as_cmap=True)
    if logarithmic:
        return LogNorm(low, max(high, low * 1.01)), light
    if low < 0 < high:
        both: Any = color_palette("vlag", as_cmap=True)
        far = max(-low, high)
        return TwoSlopeNorm(0.0, -far, far), both
    return Normalize(low, high if high > low else low + 1), light
