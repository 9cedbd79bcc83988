"""Figures of lesion studies: a measure by block, by size of the lesion, by Kendall tau.

They follow figures 3 and 5 of Veit, Wilber and Belongie (NIPS 2016, arXiv 1605.06431), for any kind
of lesion and any measure. Each function takes one table of lesions for each network, as
:func:`ensembles.lesion` returns it and :func:`ensembles.tables.read_frame` reads it. Of its
``attrs`` they use ``model`` and ``dataset`` (for the legend), the values of a network that guesses
(``chance``, ``chances``) and ``transitions``.

Lesions with different settings, such as factors, are curves of their own; those that differ in
their seed alone are pooled; those after which BatchNorm is recalibrated have the colour of the
others, in dots.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from ensembles.plots.curves import Curve, curves_of, placed
from ensembles.plots.lesion_marks import (
    curve_handles,
    draw_boxes,
    draw_levels,
    draw_places,
    draw_taus,
    mark_nonfinite,
    room_of,
    whole_ticks,
)
from ensembles.plots.measures import Measure, Range
from ensembles.plots.style import GREY, axes_or_new, legend_above, paper_style, proxy, tint
from ensembles.statistics import require_columns
from ensembles.tables.readings import words_of

__all__ = ["error_by_block", "error_by_count", "error_by_tau"]


def error_by_block(
    *frames: pd.DataFrame, kind: str = "delete", metric: str = "error", ax: Axes | None = None
) -> Axes:
    """A measure after the lesion of each single block, or of each span of one length.

    Dashed: the intact network. Dotted: chance level. Hollow markers: transitions. Band: Wilson's
    95 % interval of an error, where the table counts observations; of several seeds, the median,
    and each of them as a point. Several lesions of one block, such as its roads, stand beside each
    other and are joined by a line; many are pooled as seeds are.

    Args:
        frames: Lesions of each network; other lesions than those are left out.
        kind: Name of a kind of lesion.
        metric: Column that is drawn, or the metric that it belongs to.
        ax: Axes to draw into; a new figure's where None.

    Returns:
        The axes: x block number, y the measure; an error as a share.

    Raises:
        UsageError: A table lacks a column or has no lesions of single blocks, nor of spans of one
            length.
    """
    measure, curves = _opened(frames, kind, metric)
    curves = [placed(curve, kind) for curve in curves]
    rows = pd.concat([curve.rows for curve in curves])
    with paper_style():
        ax = axes_or_new(ax)
        drawn = Range()
        for curve in curves:
            draw_places(ax, curve, measure, drawn)
        handles = curve_handles(curves)
        if rows["changed"].any():
            handles.append(proxy("transition", marker="o", markerfacecolor="white", markersize=5))
        handles += _pooled(curves)
        handles += draw_levels(ax, frames, curves, measure, drawn)
        if drawn.widest > 0.04 * float(np.ptp(ax.get_ylim())):
            handles.append(Patch(facecolor=tint(GREY), linewidth=0, label="95% interval"))
        handles += mark_nonfinite(ax, rows.loc[rows["y"].isna(), "at"])
        last = int(rows["block"].max())
        ax.set_xlim(0.7 - 0.02 * last, last + 0.02 * last + 0.3)
        ax.set_xticks(whole_ticks(1, last))
        _finish(ax, measure, _by_block(rows, kind), handles)
    return ax


def error_by_count(
    *frames: pd.DataFrame, kind: str = "delete", metric: str = "error", ax: Axes | None = None
) -> Axes:
    """Boxes of a measure by the size of the lesion: blocks, swaps, roads, length of a span.

    Line in the box: median. Box: quartiles. Whiskers: to the last lesion within 1.5 times the
    box's length. Where a box stands for fewer than five lesions, all are drawn as points.
    Dashed: the intact network. Dotted: chance level.

    Args:
        frames: Lesions of each network; those of other kinds are left out.
        kind: Name of a kind of lesion.
        metric: Column that is drawn, or the metric that it belongs to.
        ax: Axes to draw into; a new figure's where None.

    Returns:
        The axes: x size, y the measure; an error as a share.

    Raises:
        UsageError: A table lacks a column or has no lesions of the kind.
    """
    measure, curves = _opened(frames, kind, metric)
    parts = [curve.rows[["count", "y"]].assign(series=i) for i, curve in enumerate(curves)]
    data = pd.concat(parts, ignore_index=True)
    with paper_style():
        ax = axes_or_new(ax)
        known, drawn = data.dropna(), Range()
        room, gap = room_of(known["count"])
        handles = draw_boxes(ax, known, curves, room, gap)
        drawn.add(data["y"])
        handles += draw_levels(ax, frames, curves, measure, drawn)
        handles += mark_nonfinite(ax, sorted(set(data.loc[data["y"].isna(), "count"])))
        first, last = int(data["count"].min()), int(data["count"].max())
        ax.set_xlim(first - 0.6 * room, last + 0.6 * room)
        ax.set_xticks(whole_ticks(first, last))
        _finish(ax, measure, words_of(kind).several, handles)
    return ax


def error_by_tau(
    *frames: pd.DataFrame,
    bins: int = 10,
    kind: str = "reorder",
    metric: str = "error",
    ax: Axes | None = None,
) -> Axes:
    """A measure of reorderings against Kendall tau of the order, falling from 1 as in the paper.

    Points: single reorderings. Line: median of bins of equal width that hold five reorderings
    or more, with quartiles. Dashed: the intact network. Dotted: chance level.

    Args:
        frames: Lesions of each network; those of other kinds are left out.
        bins: Number of bins for the medians.
        kind: Name of a kind of lesion that only changes the order.
        metric: Column that is drawn, or the metric that it belongs to.
        ax: Axes to draw into; a new figure's where None.

    Returns:
        The axes: x Kendall tau, y the measure; an error as a share.

    Raises:
        UsageError: A table lacks a column or has no such lesions.
    """
    for frame in frames:
        require_columns(frame, "kendall_tau")
    measure, curves = _opened(frames, kind, metric)
    rows = pd.concat([curve.rows for curve in curves])
    with paper_style():
        ax = axes_or_new(ax)
        drawn = Range()
        for curve in curves:
            draw_taus(ax, curve, bins)
        drawn.add(rows["y"])
        handles = curve_handles(curves)
        handles.append(proxy("median, quartiles", linestyle="-", marker="|", markersize=8))
        handles.append(proxy("one reordering", marker=".", color=GREY))
        handles += draw_levels(ax, frames, curves, measure, drawn)
        handles += mark_nonfinite(ax, rows.loc[rows["y"].isna(), "kendall_tau"])
        lowest = float(rows["kendall_tau"].min())
        pad = 0.03 * max(1 - lowest, 1e-3)
        ax.set_xlim(1 + pad, lowest - pad)
        ax.xaxis.set_major_locator(MaxNLocator(nbins=7, steps=[1, 2, 2.5, 5, 10]))
        _finish(ax, measure, "Kendall tau of the order of the blocks", handles)
    return ax


def _opened(frames: Sequence[pd.DataFrame], kind: str, metric: str) -> tuple[Measure, list[Curve]]:
    """What is drawn, and the curves of it."""
    plain = ("error",) if metric == "error" else ()
    for frame in frames:
        require_columns(frame, "lesion", "count", "blocks", *plain)
    measure = Measure.of(frames, metric)
    return measure, curves_of(frames, kind, measure)


def _pooled(curves: Sequence[Curve]) -> list[Artist]:
    """The legend's part where lesions of one block are pooled."""
    most = {curve.pooled: int(curve.rows["size"].max()) for curve in curves}
    return [
        handle
        for what, number in most.items()
        if number > 1
        for handle in (
            proxy(f"median of {number} {what}s", linestyle="-"),
            proxy(f"one {what}", marker=".", color=GREY),
        )
    ]


def _by_block(rows: pd.DataFrame, kind: str) -> str:
    """What the blocks are that the axis counts."""
    words, size = words_of(kind), int(rows["count"].max())
    if all(reading.is_single for reading in rows["reading"]):
        return words.one
    return f"First of {size} blocks that are {words.done}"


def _finish(ax: Axes, measure: Measure, xlabel: str, handles: Sequence[Artist]) -> None:
    ax.set_xlabel(xlabel)
    measure.finish(ax)
    legend_above(ax, handles)
