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
from matplotlib.ticker import MaxNLocator

from ensembles.plots.curves import Curve, curves_of, placed
from ensembles.plots.interval_marks import band_entry
from ensembles.plots.layout import axes_or_new
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
from ensembles.plots.measures import Measure, Range, Scale, counted
from ensembles.plots.style import GREY, legend_above, paper_style, proxy
from ensembles.statistics import require_columns
from ensembles.tables.networks import all_networks
from ensembles.tables.readings import words_of

__all__ = ["error_by_block", "error_by_count", "error_by_tau"]


def error_by_block(
    *frames: pd.DataFrame,
    kind: str = "delete",
    metric: str = "error",
    ax: Axes | None = None,
    labels: Sequence[str] | None = None,
    colours: Sequence[str] | None = None,
    legend: bool = True,
    scale: Scale = "linear",
) -> Axes:
    """A measure after the lesion of each single block, or of each span of one length.

    Dashed: the intact network. Dotted: chance level. Hollow markers: transitions. Band: Wilson's
    95 % interval of an error, where the table counts observations; of several seeds, the median,
    and each of them as a point. Several lesions of one block, such as its branches, stand beside
    each other and are joined by a line; many are pooled as seeds are.

    Args:
        frames: Lesions of each network, or of several in one table; other lesions are left out.
        kind: Name of a kind of lesion.
        metric: Column that is drawn, or the metric that it belongs to.
        ax: Axes to draw into; a new figure's where None.
        labels: What the legend calls the networks; by default their models.
        colours: Those of the curves, as matplotlib names them; by default a palette that all kinds
            of colour vision, and grey, tell apart.
        legend: Whether there is one, above the axes.
        scale: Of the y axis: ``linear``, ``log``, or ``symlog``, which shows errors below 1 % and
            near chance in one figure.

    Returns:
        The axes: x block number, y the measure; an error as a share.

    Raises:
        UsageError: A table lacks a column or has no lesions of single blocks, nor of spans of one
            length.
    """
    tables = all_networks(frames, labels)
    measure, curves = _opened(tables, kind, metric, scale, colours)
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
        handles += draw_levels(ax, tables, curves, measure, drawn)
        if drawn.widest > 0.04 * float(np.ptp(ax.get_ylim())):
            handles.append(band_entry())
        handles += mark_nonfinite(ax, rows.loc[rows["y"].isna(), "at"])
        last = int(rows["block"].max())
        ax.set_xlim(0.7 - 0.02 * last, last + 0.02 * last + 0.3)
        ax.set_xticks(whole_ticks(1, last))
        told = [*handles, *counted(tables)] if legend else []
        _finish(ax, measure, _by_block(rows, kind), told)
    return ax


def error_by_count(
    *frames: pd.DataFrame,
    kind: str = "delete",
    metric: str = "error",
    ax: Axes | None = None,
    labels: Sequence[str] | None = None,
    colours: Sequence[str] | None = None,
    legend: bool = True,
    scale: Scale = "linear",
) -> Axes:
    """Boxes of a measure by the size of the lesion: blocks, swaps, branches, length of a span.

    Line in the box: median. Box: quartiles. Whiskers: to the last lesion within 1.5 times the
    box's length. Where a box stands for fewer than five lesions, all are drawn as points.
    Dashed: the intact network. Dotted: chance level.

    Args:
        frames: Lesions of each network, or of several in one table; other kinds are left out.
        kind: Name of a kind of lesion.
        metric: Column that is drawn, or the metric that it belongs to.
        ax: Axes to draw into; a new figure's where None.
        labels: What the legend calls the networks; by default their models.
        colours: Those of the curves, as matplotlib names them; by default a palette that all kinds
            of colour vision, and grey, tell apart.
        legend: Whether there is one, above the axes.
        scale: Of the y axis: ``linear``, ``log``, or ``symlog``, which shows errors below 1 % and
            near chance in one figure.

    Returns:
        The axes: x size, y the measure; an error as a share.

    Raises:
        UsageError: A table lacks a column or has no lesions of the kind.
    """
    tables = all_networks(frames, labels)
    measure, curves = _opened(tables, kind, metric, scale, colours)
    parts = [curve.rows[["count", "y"]].assign(series=i) for i, curve in enumerate(curves)]
    data = pd.concat(parts, ignore_index=True)
    with paper_style():
        ax = axes_or_new(ax)
        known, drawn = data.dropna(), Range()
        room, gap = room_of(known["count"])
        handles = draw_boxes(ax, known, curves, room, gap)
        drawn.add(data["y"])
        handles += draw_levels(ax, tables, curves, measure, drawn)
        handles += mark_nonfinite(ax, sorted(set(data.loc[data["y"].isna(), "count"])))
        first, last = int(data["count"].min()), int(data["count"].max())
        ax.set_xlim(first - 0.6 * room, last + 0.6 * room)
        ax.set_xticks(whole_ticks(first, last))
        told = [*handles, *counted(tables)] if legend else []
        _finish(ax, measure, words_of(kind).several, told)
    return ax


def error_by_tau(
    *frames: pd.DataFrame,
    bins: int = 10,
    kind: str = "reorder",
    metric: str = "error",
    ax: Axes | None = None,
    labels: Sequence[str] | None = None,
    colours: Sequence[str] | None = None,
    legend: bool = True,
    scale: Scale = "linear",
) -> Axes:
    """A measure of reorderings against Kendall tau of the order, falling from 1 as in the paper.

    Points: single reorderings. Line: median of bins of equal width that hold five reorderings
    or more, with quartiles. Dashed: the intact network. Dotted: chance level.

    Args:
        frames: Lesions of each network, or of several in one table; other kinds are left out.
        bins: Number of bins for the medians.
        kind: Name of a kind of lesion that only changes the order.
        metric: Column that is drawn, or the metric that it belongs to.
        ax: Axes to draw into; a new figure's where None.
        labels: What the legend calls the networks; by default their models.
        colours: Those of the curves, as matplotlib names them; by default a palette that all kinds
            of colour vision, and grey, tell apart.
        legend: Whether there is one, above the axes.
        scale: Of the y axis: ``linear``, ``log``, or ``symlog``, which shows errors below 1 % and
            near chance in one figure.

    Returns:
        The axes: x Kendall tau, y the measure; an error as a share.

    Raises:
        UsageError: A table lacks a column or has no such lesions.
    """
    for frame in frames:
        require_columns(frame, "kendall_tau")
    tables = all_networks(frames, labels)
    measure, curves = _opened(tables, kind, metric, scale, colours)
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
        handles += draw_levels(ax, tables, curves, measure, drawn)
        handles += mark_nonfinite(ax, rows.loc[rows["y"].isna(), "kendall_tau"])
        lowest = float(rows["kendall_tau"].min())
        pad = 0.03 * max(1 - lowest, 1e-3)
        ax.set_xlim(1 + pad, lowest - pad)
        ax.xaxis.set_major_locator(MaxNLocator(nbins=7, steps=[1, 2, 2.5, 5, 10]))
        told = [*handles, *counted(tables)] if legend else []
        _finish(ax, measure, "Kendall tau of the order of the blocks", told)
    return ax


def _opened(
    frames: Sequence[pd.DataFrame],
    kind: str,
    metric: str,
    scale: Scale,
    colours: Sequence[str] | None,
) -> tuple[Measure, list[Curve]]:
    """What is drawn, and the curves of it."""
    plain = ("error",) if metric == "error" else ()
    for frame in frames:
        require_columns(frame, "lesion", "count", "blocks", *plain)
    measure = Measure.of(frames, metric, scale)
    return measure, curves_of(frames, kind, measure, colours)


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
    if handles:
        legend_above(ax, handles)
