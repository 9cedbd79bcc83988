"""Figures of lesion studies: error by block, by number of blocks, by Kendall tau.

They follow figures 3 and 5 of Veit, Wilber and Belongie (NIPS 2016, arXiv 1605.06431). Each
function takes one table of lesions for each network, as :func:`ensembles.lesion` returns it
and :func:`ensembles.tables.read_frame` reads it. Of its ``attrs`` they use ``model`` and
``dataset`` (for the legend), ``chance`` (error at chance level) and ``transitions``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, MaxNLocator
from numpy.typing import NDArray

from ensembles.errors import UsageError
from ensembles.plots.style import GREY, INK, Look, axes_or_new, legend_above, look, paper_style
from ensembles.statistics import error_intervals, require_columns, summary_by_tau

__all__ = ["error_by_block", "error_by_count", "error_by_tau", "series_labels"]

_ONE = {
    "delete": "Deleted block",
    "duplicate": "Duplicated block",
    "drop": "Block, and its dropped road from left to right",
}
_SEVERAL = {
    "delete": "Number of deleted blocks",
    "duplicate": "Number of duplicated blocks",
    "reorder": "Number of swaps",
    "drop": "Number of dropped roads",
}
_BOXES = 0.75  # width of the boxes of one number, of the room that it has
_BESIDE = 0.7  # width that the roads of one block take, in blocks
_INTACT_DASH = (0, (3, 2))
_DOTTED = (0, (1, 1.5))
_MANY_POINTS = 2000


def error_by_block(*frames: pd.DataFrame, kind: str = "delete", ax: Axes | None = None) -> Axes:
    """Error after the deletion (or duplication) of each single block, or the drop of each road.

    Dashed: the intact network. Dotted: chance level. Hollow markers: transitions. Band:
    Wilson's 95 % interval, where the table counts images. Roads of one block are joined by a line.

    Args:
        frames: Lesions of each network; other lesions than those of single blocks are left out.
        kind: ``delete``, ``duplicate`` or ``drop``.
        ax: Axes to draw into; a new figure's where None.

    Returns:
        The axes: x block number, y top-1 error as a share.

    Raises:
        UsageError: A table lacks a column or has no lesions of single blocks.
    """
    singles = [_singles(frame, kind) for frame in _given(frames)]
    with paper_style():
        ax = axes_or_new(ax)
        handles: list[Artist] = []
        top, widest = 0.0, 0.0
        for index, (frame, label) in enumerate(zip(singles, series_labels(frames), strict=True)):
            for part in _joined(frame, kind):
                low, high = _draw_singles(ax, part, look(index))
                top = np.fmax.reduce(high, initial=top)
                widest = np.fmax.reduce(high - low, initial=widest)
            handles.append(_proxy(label, **look(index).line))
        if any(frame["changed"].any() for frame in singles):
            handles.append(_proxy("transition", marker="o", markerfacecolor="white", markersize=5))
        handles += _levels(ax, frames, top)
        if widest > 0.04 * ax.get_ylim()[1]:
            handles.append(Patch(facecolor=_tint(GREY), linewidth=0, label="95% interval"))
        bad = [x for frame in singles for x in frame.loc[frame["error"].isna(), "at"]]
        handles += _mark_nonfinite(ax, bad)
        last = int(max(frame["block"].max() for frame in singles))
        ax.set_xlim(0.7 - 0.02 * last, last + 0.02 * last + 0.3)
        ax.set_xticks(_whole_ticks(1, last))
        _finish(ax, _ONE[kind], handles)
    return ax


def error_by_count(*frames: pd.DataFrame, kind: str = "delete", ax: Axes | None = None) -> Axes:
    """Boxes of the error by the number of deleted or duplicated blocks, swaps, or dropped roads.

    Line in the box: median. Box: quartiles. Whiskers: to the last lesion within 1.5 times the
    box's length. Where a box stands for fewer than five lesions, all are drawn as points.
    Dashed: the intact network. Dotted: chance level.

    Args:
        frames: Lesions of each network; those of other kinds are left out.
        kind: ``delete``, ``duplicate``, ``reorder`` or ``drop``.
        ax: Axes to draw into; a new figure's where None.

    Returns:
        The axes: x number of blocks, y top-1 error as a share.

    Raises:
        UsageError: A table lacks a column or has no lesions of the kind.
    """
    chosen = [_of_kind(frame, kind) for frame in _given(frames)]
    labels = series_labels(frames)
    data = pd.concat(
        [
            frame[["count", "error"]].assign(series=label)
            for frame, label in zip(chosen, labels, strict=True)
        ],
        ignore_index=True,
    )
    with paper_style():
        ax = axes_or_new(ax)
        measured = data.dropna()
        room, gap = _room(measured["count"])
        handles = _draw_boxes(ax, measured, labels, room, gap)
        handles += _levels(ax, frames, np.fmax.reduce(data["error"].to_numpy(), initial=0))
        handles += _mark_nonfinite(ax, sorted(set(data.loc[data["error"].isna(), "count"])))
        first, last = int(data["count"].min()), int(data["count"].max())
        ax.set_xlim(first - 0.6 * room, last + 0.6 * room)
        ax.set_xticks(_whole_ticks(first, last))
        _finish(ax, _SEVERAL[kind], handles)
    return ax


def error_by_tau(*frames: pd.DataFrame, bins: int = 10, ax: Axes | None = None) -> Axes:
    """Error of reorderings against Kendall tau of the order, falling from 1 as in the paper.

    Points: single reorderings. Line: median of bins of equal width that hold five reorderings
    or more, with quartiles. Dashed: the intact network. Dotted: chance level.

    Args:
        frames: Lesions of each network; those that are no reorderings are left out.
        bins: Number of bins for the medians.
        ax: Axes to draw into; a new figure's where None.

    Returns:
        The axes: x Kendall tau, y top-1 error as a share.

    Raises:
        UsageError: A table lacks a column or has no reorderings.
    """
    chosen = [_of_kind(frame, "reorder") for frame in _given(frames)]
    for frame in chosen:
        require_columns(frame, "kendall_tau")
    with paper_style():
        ax = axes_or_new(ax)
        handles: list[Artist] = []
        for index, (frame, label) in enumerate(zip(chosen, series_labels(frames), strict=True)):
            style, middle = look(index), _well_filled(summary_by_tau(frame, bins))
            ax.plot(
                frame["kendall_tau"], frame["error"], linestyle="", marker=style.marker,
                markersize=1.8, markeredgewidth=0, color=_tint(style.colour), label="_points",
                rasterized=len(frame) > _MANY_POINTS, zorder=1.5,
            )  # fmt: skip
            spread = [middle["median"] - middle["q1"], middle["q3"] - middle["median"]]
            ax.errorbar(
                middle["tau"], middle["median"], yerr=spread, elinewidth=0.8, label=label,
                markersize=4.5, markeredgecolor="white", markeredgewidth=0.5, zorder=3,
                **style.line,
            )  # fmt: skip
            handles.append(_proxy(label, **style.line))
        errors = np.concatenate([frame["error"] for frame in chosen])
        handles.append(_proxy("median, quartiles", linestyle="-", marker="|", markersize=8))
        handles.append(_proxy("one reordering", marker=".", color=GREY))
        handles += _levels(ax, frames, np.fmax.reduce(errors, initial=0))
        bad = [tau for frame in chosen for tau in frame.loc[frame["error"].isna(), "kendall_tau"]]
        handles += _mark_nonfinite(ax, bad)
        lowest = min(frame["kendall_tau"].min() for frame in chosen)
        pad = 0.03 * max(1 - lowest, 1e-3)
        ax.set_xlim(1 + pad, lowest - pad)
        ax.xaxis.set_major_locator(MaxNLocator(nbins=7, steps=[1, 2, 2.5, 5, 10]))
        _finish(ax, "Kendall tau of the order of the blocks", handles)
    return ax


def series_labels(frames: Sequence[pd.DataFrame]) -> list[str]:
    """A label for each table: its model, with the data set or a number where needed."""
    models = [str(frame.attrs.get("model", "network")) for frame in frames]
    datasets = [frame.attrs.get("dataset") for frame in frames]
    if len(set(datasets)) > 1:
        models = [f"{m}, {d}" if d else m for m, d in zip(models, datasets, strict=True)]
    return [
        f"{model} ({models[: place + 1].count(model)})" if models.count(model) > 1 else model
        for place, model in enumerate(models)
    ]


def _given(frames: Sequence[pd.DataFrame]) -> Sequence[pd.DataFrame]:
    if not frames:
        raise UsageError("no tables to draw: give one table of lesions or more")
    return frames


def _of_kind(frame: pd.DataFrame, kind: str) -> pd.DataFrame:
    require_columns(frame, "lesion", "count", "blocks", "error")
    chosen = frame[frame["lesion"] == kind]
    if chosen.empty:
        found = ", ".join(sorted(set(frame["lesion"]))) or "none"
        raise UsageError(f"no lesions of the kind {kind} to draw: the table holds {found}")
    return chosen


def _singles(frame: pd.DataFrame, kind: str) -> pd.DataFrame:
    chosen = _of_kind(frame, kind)
    chosen = chosen[chosen["count"] == 1]
    if chosen.empty:
        raise UsageError(f"no {kind} of a single block to draw: draw the error by count instead")
    block, at = _places(chosen["blocks"], kind)
    chosen = chosen.assign(
        block=block, at=at, changed=block.isin(frame.attrs.get("transitions", ()))
    )
    return chosen.drop_duplicates("at").sort_values("at")


def _places(blocks: pd.Series[Any], kind: str) -> tuple[pd.Series[int], pd.Series[Any]]:
    """Number of the block of each row, and where it is drawn: roads beside each other."""
    if kind != "drop":
        block = blocks.astype(int)
        return block, block
    numbers = blocks.astype(str).str.split(".")
    block, road = numbers.str[0].astype(int), numbers.str[1].astype(int)
    roads = road.groupby(block).transform("max")
    return block, block + _BESIDE * (road - (roads + 1) / 2) / roads


def _joined(frame: pd.DataFrame, kind: str) -> list[pd.DataFrame]:
    """The rows that a line joins: all of them, or the roads of one block."""
    return [frame] if kind != "drop" else [part for _, part in frame.groupby("block")]


def _room(counts: pd.Series[int]) -> tuple[float, int]:
    """Width that the boxes of one number share, wider where numbers are few, and least distance."""
    known = np.unique(counts)
    if len(known) < 2:
        return 1.0, 1
    gap = int(np.diff(known).min())
    return max(1.0, min(gap, (known[-1] - known[0]) / 12)), gap


def _draw_boxes(
    ax: Axes, data: pd.DataFrame, labels: Sequence[str], room: float, gap: int
) -> list[Artist]:
    """Draw the boxes of all networks side by side; return the legend's part."""
    tints = {label: _tint(look(index).colour) for index, label in enumerate(labels)}
    few = not data.empty and data.groupby(["count", "series"]).size().min() < 5
    sns.boxplot(
        data, x="count", y="error", hue="series", hue_order=labels, native_scale=True,
        legend=False, ax=ax, width=_BOXES * room / gap,  # seaborn counts in least distances
        palette=tints, saturation=1, gap=0.1, linewidth=0.6, linecolor=INK,
        medianprops={"linewidth": 1.4, "color": "black"}, showfliers=not few,
        flierprops={"marker": ".", "markersize": 2, "markeredgecolor": GREY},
    )  # fmt: skip
    for place, label in enumerate(labels) if few else ():
        own = data[data["series"] == label]
        aside = _BOXES * room * ((place + 0.5) / len(labels) - 0.5)
        ax.plot(
            own["count"] + aside, own["error"], linestyle="", marker="o", markersize=2.5,
            color=INK, markeredgewidth=0, label="_points", zorder=3,
        )  # fmt: skip
    return [
        Patch(facecolor=tint, edgecolor=INK, linewidth=0.6, label=label)
        for label, tint in tints.items()
    ]


def _draw_singles(
    ax: Axes, frame: pd.DataFrame, style: Look
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Draw one network's curve; return the ends of its errors' intervals."""
    x, y = frame["at"], frame["error"].to_numpy(float)
    low, high = y, y
    if {"correct", "total"} <= set(frame.columns):
        low, high = error_intervals(frame)[["error_low", "error_high"]].to_numpy(float).T
        ax.fill_between(x, low, high, color=style.colour, alpha=0.25, linewidth=0)
    ax.plot(x, y, label="_single", **style.line)
    changed = frame["changed"]
    hollow = style.line | {"linestyle": "", "markerfacecolor": "white", "markersize": 5}
    ax.plot(x[changed], y[changed], label="_transitions", **hollow)
    return low, high


def _levels(ax: Axes, frames: Sequence[pd.DataFrame], top: float) -> list[Artist]:
    """Draw the intact and the chance error, set the range of errors, return the legend's part."""
    handles: list[Artist] = []
    for index, frame in enumerate(frames):
        for error in frame.loc[frame["lesion"] == "none", "error"].dropna()[:1]:
            ax.axhline(
                error, color=look(index).colour, linestyle=_INTACT_DASH, linewidth=0.8,
                label="_intact", zorder=1.8,
            )  # fmt: skip
            top = max(top, float(error))
            handles = [_proxy("intact", linestyle=_INTACT_DASH, linewidth=0.8)]
    highest = top
    for chance in sorted({float(f.attrs["chance"]) for f in frames if f.attrs.get("chance")}):
        ax.axhline(chance, color=INK, linestyle=_DOTTED, linewidth=0.9, label="_chance", zorder=1.7)
        in_view = highest >= chance / 3
        top = max(top, chance) if in_view else top
        label = "chance" if in_view else f"chance {chance:.0%} (above)"
        handles.append(_proxy(label, linestyle=_DOTTED, linewidth=0.9))
    ax.set_ylim(0, min(1.04 * top, 1.02) or 1)
    return handles


def _well_filled(summary: pd.DataFrame) -> pd.DataFrame:
    """The bins that can bear quartiles, or all where none can."""
    known = summary[summary["n"] > 0]
    filled = known[known["n"] >= 5]
    return known if filled.empty else filled


def _whole_ticks(first: int, last: int) -> list[int]:
    """Whole numbers to label: the first, and round ones, eight or so."""
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


def _mark_nonfinite(ax: Axes, places: Sequence[float]) -> list[Artist]:
    """A cross at the upper edge where logits were not finite, so that there is no error."""
    if not len(places):
        return []
    ax.plot(
        places, np.full(len(places), 0.97), color=INK, marker="x", markersize=4, linestyle="",
        transform=ax.get_xaxis_transform(), label="_nonfinite",
    )  # fmt: skip
    return [_proxy("logits not finite", marker="x", markersize=4)]


def _proxy(label: str, **line: Any) -> Line2D:
    return Line2D([], [], **{"color": INK, "linestyle": "", "label": label, **line})


def _tint(colour: str) -> tuple[float, float, float]:
    """The colour, half way to white."""
    palette = sns.blend_palette(["white", colour], n_colors=3)
    red, green, blue = palette[1]
    return red, green, blue


def _finish(ax: Axes, xlabel: str, handles: Sequence[Artist]) -> None:
    ax.set_xlabel(xlabel)
    ax.set_ylabel("Top-1 error (%)")
    ax.yaxis.set_major_locator(MaxNLocator(nbins=6, steps=[1, 2, 2.5, 5, 10]))
    ax.yaxis.set_major_formatter(FuncFormatter(lambda error, _: f"{round(100 * error, 6):g}"))
    legend_above(ax, handles)
