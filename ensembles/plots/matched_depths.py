"""Error, robustness and effective depth of networks of equal size, by their depth."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FixedLocator, NullLocator, PercentFormatter, ScalarFormatter

from ensembles.plots.layout import letters, panel_letter, panels_or_new
from ensembles.plots.style import GREY, INK, Look, legend_above, look, paper_style, tint
from ensembles.tables.schema import require_columns

__all__ = ["matched_depths"]

_PANELS = {
    "error": "Error",
    "median_rise": "Rise of the error after\none deletion (median)",
    "rms_median": "Effective depth\n(weight layers)",
}


def matched_depths(
    depths: pd.DataFrame,
    networks: pd.DataFrame,
    *,
    axes: Sequence[Axes] | None = None,
    colours: Sequence[str] | None = None,
    legend: bool = True,
) -> Figure:
    """Draw networks of equal numbers of parameters by their depth, a curve for each family.

    Args:
        depths: A row for each family and depth, with the means over seeds and their ``_low`` and
            ``_high``.
        networks: A row for each network, drawn as small points.
        axes: Three axes to draw into; a new figure's where None.
        colours: Those of the families.
        legend: Whether there is one, above the first panel.

    Returns:
        The figure: top-1 error, the median rise of the error over all single deletions, and the
        median length of paths by their RMS gradient, in weight layers, beside the whole depth.

    Raises:
        UsageError: A column is missing, or there are not three axes.
    """
    for column in _PANELS:
        require_columns(depths, "family", "depth", column, f"{column}_low", f"{column}_high")
        require_columns(networks, "family", "depth", column)
    figure, panels = panels_or_new(axes, list(_PANELS), 1.9)
    names = list(dict.fromkeys(depths["family"]))
    ticks = sorted({int(depth) for depth in depths["depth"]})
    with paper_style():
        for (column, label), ax, letter in zip(_PANELS.items(), panels, letters(), strict=False):
            handles = [
                _curve(ax, _of(depths, name), _of(networks, name), column, look(place, colours))
                for place, name in enumerate(names)
            ]
            if column == "rms_median":
                ax.plot(ticks, ticks, color=INK, lw=0.7, ls=":", zorder=1)
                ax.annotate(
                    "dotted: all layers", (0.02, 0.97), xycoords="axes fraction", va="top",
                    fontsize=7, color=INK,
                )  # fmt: skip
            else:
                ax.yaxis.set_major_formatter(PercentFormatter(1))
            ax.set_ylim(bottom=min(0, ax.get_ylim()[0]) if column == "median_rise" else 0)
            ax.set_xscale("log")
            ax.xaxis.set_major_locator(FixedLocator(ticks))
            ax.xaxis.set_minor_locator(NullLocator())
            ax.xaxis.set_major_formatter(ScalarFormatter())
            ax.set_ylabel(label)
            panel_letter(ax, letter)
            if legend and ax is panels[0]:
                band = Patch(facecolor=tint(GREY), linewidth=0, label="95% interval over seeds")
                legend_above(ax, [*handles, *_legend_of_points(), band])
        panels[-1].set_xlabel("Depth (weight layers)")
        figure.align_ylabels(panels)
    return figure


def _of(table: pd.DataFrame, family: str) -> pd.DataFrame:
    return table[table["family"] == family].sort_values("depth")


def _curve(ax: Axes, means: pd.DataFrame, every: pd.DataFrame, column: str, style: Look) -> Artist:
    """Mean with its band over seeds, and single networks as points."""
    x = means["depth"]
    ax.fill_between(
        x, means[f"{column}_low"], means[f"{column}_high"], color=style.colour, alpha=0.2, lw=0
    )
    ax.plot(
        every["depth"], every[column], ls="", marker=".", markersize=2.5, color=tint(style.colour)
    )
    name = str(means["family"].iloc[0])
    [line] = ax.plot(x, means[column], label=name, zorder=3, **style.line)
    return line


def _legend_of_points() -> list[Artist]:
    return [Line2D([], [], ls="", marker=".", color=tint(GREY), label="single networks")]
