"""The marks of a figure of lesions: curves, boxes, points, levels, ticks."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.patches import Patch

from ensembles.plots.curves import RECALIBRATED_DASH, Curve, levels_of
from ensembles.plots.measures import Measure, Range
from ensembles.plots.style import GREY, INK, INTACT_DASH, proxy, tint
from ensembles.statistics import summary_by_tau

__all__ = [
    "curve_handles", "draw_boxes", "draw_levels", "draw_places", "draw_taus", "mark_nonfinite",
    "room_of", "whole_ticks",
]  # fmt: skip

_BOXES = 0.75  # width of the boxes of one number, of the room that it has
_AGAIN = "recalibrated"
_BOX = "quartiles, whiskers to 1.5 boxes"
_MANY_POINTS = 2000


def draw_places(ax: Axes, curve: Curve, measure: Measure, drawn: Range) -> None:
    """Draw a curve by block; the lesions of one block, where there are several, are joined."""
    parts = [curve.rows]
    if curve.rows["block"].duplicated().any():
        parts = [part for _, part in curve.rows.groupby("block")]
    for part in parts:
        low, high = measure.intervals(part.assign(**{measure.column: part["y"]}))
        one = part["size"].to_numpy() == 1
        low, high = np.where(one, low, part["y"]), np.where(one, high, part["y"])
        if (high > low).any():
            ax.fill_between(part["at"], low, high, color=curve.look.colour, alpha=0.25, linewidth=0)
        ax.plot(part["at"], part["y"], label="_single", **curve.line)
        hollow = curve.line | {"linestyle": "", "markerfacecolor": "white", "markersize": 5}
        changed = part["changed"]
        ax.plot(part["at"][changed], part["y"][changed], label="_transitions", **hollow)
        drawn.add(low, high)
    if curve.each is not None and len(curve.each):
        ax.plot(
            curve.each["at"], curve.each["y"], linestyle="", marker=curve.look.marker,
            markersize=2, markeredgewidth=0, color=curve.face, label="_each", zorder=1.5,
        )  # fmt: skip
        drawn.add(curve.each["y"])


def room_of(counts: pd.Series[int]) -> tuple[float, int]:
    """Width that the boxes of one number share, wider where numbers are few, and least distance."""
    known = np.unique(counts)
    if len(known) < 2:
        return 1.0, 1
    gap = int(np.diff(known).min())
    return max(1.0, min(gap, (known[-1] - known[0]) / 12)), gap


def draw_boxes(
    ax: Axes, data: pd.DataFrame, curves: Sequence[Curve], room: float, gap: int
) -> list[Artist]:
    """Draw the boxes of all curves side by side.

    Args:
        ax: Axes.
        data: Columns `count`, `y` and `series` (number of the curve), without gaps.
        curves: The curves.
        room: Width that the boxes of one number share.
        gap: Least distance of two numbers.

    Returns:
        The legend's part.
    """
    few = not data.empty and data.groupby(["count", "series"]).size().min() < 5
    order = list(range(len(curves)))
    sns.boxplot(
        data, x="count", y="y", hue="series", hue_order=order, native_scale=True,
        legend=False, ax=ax, width=_BOXES * room / gap,  # seaborn counts in least distances
        palette={place: curve.face for place, curve in enumerate(curves)}, saturation=1, gap=0.1,
        linewidth=0.6, linecolor=INK, medianprops={"linewidth": 1.4, "color": "black"},
        showfliers=not few, flierprops={"marker": ".", "markersize": 2, "markeredgecolor": GREY},
    )  # fmt: skip
    for place in order if few else ():
        own = data[data["series"] == place]
        aside = _BOXES * room * ((place + 0.5) / len(curves) - 0.5)
        ax.plot(
            own["count"] + aside, own["y"], linestyle="", marker="o", markersize=2.5,
            color=INK, markeredgewidth=0, label="_points", zorder=3,
        )  # fmt: skip
    patches = [
        Patch(facecolor=curve.face, edgecolor=INK, linewidth=0.6, label=curve.label)
        for curve in curves
    ]
    told = (
        proxy("one lesion", marker="o", markersize=2.5)
        if few
        else Patch(facecolor="white", edgecolor=INK, linewidth=0.6, label=_BOX)
    )
    pale = Patch(facecolor=tint(tint(GREY)), edgecolor=INK, linewidth=0.6, label=_AGAIN)
    return [*_parted(curves, patches, pale), told]


def curve_handles(curves: Sequence[Curve]) -> list[Artist]:
    """The legend's part for lines: each curve, and once what recalibrated ones look like."""
    lines = [proxy(curve.label, **curve.line) for curve in curves]
    return _parted(
        curves, lines, proxy(_AGAIN, linestyle=RECALIBRATED_DASH, marker=".", markersize=4)
    )


def _parted(curves: Sequence[Curve], each: Sequence[Artist], again: Artist) -> list[Artist]:
    """One entry for each label, and another one where recalibrated curves stand beside plain."""
    found: dict[str, Artist] = {}
    for curve, handle in zip(curves, each, strict=True):
        found.setdefault(curve.label, handle)
    return [*found.values(), *([again] if any(one.recalibrated for one in curves) else [])]


def draw_taus(ax: Axes, curve: Curve, bins: int) -> None:
    """Draw single reorderings as points, and the medians and quartiles of bins."""
    rows = curve.rows
    middle = _well_filled(summary_by_tau(rows, bins, "y"))
    ax.plot(
        rows["kendall_tau"], rows["y"], linestyle="", marker=curve.look.marker,
        markersize=1.8, markeredgewidth=0, color=curve.face, label="_points",
        rasterized=len(rows) > _MANY_POINTS, zorder=1.5,
    )  # fmt: skip
    spread = [middle["median"] - middle["q1"], middle["q3"] - middle["median"]]
    ax.errorbar(
        middle["tau"], middle["median"], yerr=spread, elinewidth=0.8, label=curve.label,
        markersize=4.5, markeredgecolor="white", markeredgewidth=0.5, zorder=3, **curve.line,
    )  # fmt: skip


def draw_levels(
    ax: Axes,
    frames: Sequence[pd.DataFrame],
    curves: Sequence[Curve],
    measure: Measure,
    drawn: Range,
) -> list[Artist]:
    """Draw the intact networks and chance, and set the range of the axis.

    Returns:
        The legend's part.
    """
    handles: list[Artist] = []
    for level in levels_of(frames, curves, measure.column):
        ax.axhline(
            level.value, color=level.look.colour, linewidth=0.8, zorder=1.8,
            linestyle=RECALIBRATED_DASH if level.recalibrated else INTACT_DASH,
            label="_intact, recalibrated" if level.recalibrated else "_intact",
        )  # fmt: skip
        drawn.add([level.value])
        if not level.recalibrated:
            handles = [proxy("intact", linestyle=INTACT_DASH, linewidth=0.8)]
    if not np.isfinite(drawn.highest):
        drawn.add([0.0])
    chances = measure.draw_chances(ax, frames, drawn)
    measure.limit(ax, drawn.lowest, drawn.highest)
    return [*handles, *chances]


def mark_nonfinite(ax: Axes, places: Iterable[float]) -> list[Artist]:
    """A cross at the upper edge where outputs were not finite, so that there is no value."""
    given = list(places)
    if not given:
        return []
    ax.plot(
        given, np.full(len(given), 0.97), color=INK, marker="x", markersize=4, linestyle="",
        transform=ax.get_xaxis_transform(), label="_nonfinite",
    )  # fmt: skip
    return [proxy("logits not finite", marker="x", markersize=4)]


def whole_ticks(first: int, last: int) -> list[int]:
    """Whole numbers to label: the first, and round ones, eight or so.

    >>> whole_ticks(1, 54)
    [1, 10, 20, 30, 40, 50]
    """
    if last - first < 10:
        return list(range(first, last + 1))
    step = next(
        step * 10**power
        for power in range(9)
        for step in (2, 5, 10)
        if last <= 8 * step * 10**power
    )
    if step == 2:
        return list(range(first, last + 1, 2))
    round_ones = range(step * (first // step + 1), last + 1, step)
    return [first, *(tick for tick in round_ones if tick - first > step / 2)]


def _well_filled(summary: pd.DataFrame) -> pd.DataFrame:
    """The bins that can bear quartiles, or all where none can."""
    known = summary[summary["n"] > 0]
    filled = known[known["n"] >= 5]
    return known if filled.empty else filled
