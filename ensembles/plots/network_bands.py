"""Several networks of one architecture as one curve: their mean, with a band over networks."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes

from ensembles.errors import UsageError
from ensembles.plots.interval_marks import band_entry
from ensembles.plots.layout import axes_or_new
from ensembles.plots.lesion_marks import whole_ticks
from ensembles.plots.measures import Measure, Range, Scale, counted
from ensembles.plots.style import GREY, legend_above, look, paper_style, proxy, tint
from ensembles.statistics.across_networks import across_networks
from ensembles.tables.networks import all_networks
from ensembles.tables.schema import Attributes

__all__ = ["error_across_networks"]


def error_across_networks(
    *groups: pd.DataFrame | Sequence[pd.DataFrame],
    kind: str = "delete",
    metric: str = "error",
    ax: Axes | None = None,
    labels: Sequence[str] | None = None,
    colours: Sequence[str] | None = None,
    legend: bool = True,
    scale: Scale = "linear",
) -> Axes:
    """A measure after the lesion of each block: mean over networks, with its interval over them.

    Args:
        groups: For each curve the tables of several networks of one architecture, such as seeds, or
            one table that holds them.
        kind: Name of a kind of lesion.
        metric: Column that is drawn, or the metric that it belongs to.
        ax: Axes to draw into; a new figure's where None.
        labels: What the legend calls the groups; by default the model of their first network.
        colours: Those of the groups.
        legend: Whether there is one, above the axes.
        scale: Of the y axis: ``linear``, ``log`` or ``symlog``.

    Returns:
        The axes: x block number, y the measure; thin lines: single networks; band: 95 % interval
        of the mean over networks (:func:`ensembles.statistics.across_networks`).

    Raises:
        UsageError: There are no groups, labels do not fit them, or a group has no lesions of
            single blocks in common.
    """
    tables = [all_networks(one) for one in groups]
    if not tables or not all(tables):
        raise UsageError("no networks to draw; give the tables of some for each curve")
    names = [Attributes.of(group[0]).model or "network" for group in tables]
    if labels is not None and len(labels) != len(tables):
        raise UsageError(f"{len(labels)} labels for {len(tables)} groups; give one for each")
    every = [table for group in tables for table in group]
    measure, drawn = Measure.of(every, metric, scale), Range()
    with paper_style():
        ax = axes_or_new(ax)
        handles: list[Artist] = []
        last = 1
        for place, (group, name) in enumerate(zip(tables, labels or names, strict=True)):
            singles = [_singles(table, kind) for table in group]
            found = across_networks(singles, measure.column).assign(
                block=lambda one: one["blocks"].astype(int)
            )
            found = found.sort_values("block")
            style = look(place, colours)
            for one in singles:
                own = one.assign(block=one["blocks"].astype(int)).sort_values("block")
                ax.plot(own["block"], own[measure.column], color=tint(style.colour), lw=0.4)
                drawn.add(own[measure.column])
            ax.fill_between(
                found["block"], found["low"], found["high"], color=style.colour, alpha=0.25, lw=0
            )
            label = f"{name}, mean of {len(group)}"
            handles += ax.plot(found["block"], found["mean"], label=label, **style.line)
            last = max(last, int(found["block"].max()))
        band = "95% interval over networks"
        handles.append(band_entry(band))
        handles.append(proxy("one network", linestyle="-", linewidth=0.4, color=GREY))
        handles += measure.draw_chances(ax, every, drawn)
        measure.limit(ax, drawn.lowest, drawn.highest)
        ax.set_xticks(whole_ticks(1, last))
        ax.set_xlabel("Block")
        measure.finish(ax)
        if legend:
            legend_above(ax, [*handles, *counted(every)])
    return ax


def _singles(table: pd.DataFrame, kind: str) -> pd.DataFrame:
    chosen = table[(table["lesion"] == kind) & (table["count"] == 1)]
    if chosen.empty:
        raise UsageError(f"a table without {kind} of single blocks; expected one for each block")
    return chosen
