"""Figures of path analyses: lengths, gradient by length, their product; accuracy by length.

They follow figure 6 of Veit, Wilber and Belongie (NIPS 2016, arXiv 1605.06431), with the exact
curves over the sampled ones. They take the tables of :func:`ensembles.paths`.
"""

from __future__ import annotations

from pathlib import Path
from string import ascii_lowercase
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from ensembles.analyses.effective_paths import effective_paths
from ensembles.analyses.path_columns import log2_count, relative
from ensembles.errors import UsageError
from ensembles.plots.style import (
    GREY,
    axes_or_new,
    legend_above,
    look,
    new_figure,
    panel_letter,
    paper_style,
    save_figure,
)
from ensembles.statistics import require_columns

__all__ = [
    "accuracy_by_length", "gradient_by_length", "logits_by_length", "path_lengths", "plot_paths",
    "shares_by_length",
]  # fmt: skip

_LABELS = {
    "gradient_coherent": "sum of all paths, exact",
    "gradient_rms": "RMS of the single path",
    "gradient_mean": "mean of drawn paths",
    "logit_norm": "added to the logits, exact",
}
_MEASURES = {
    "gradient_coherent": "coherent",
    "gradient_rms": "rms",
    "gradient_mean": "mean",
    "logit_norm": "logits",
}
_LOOKS = {"gradient_coherent": 0, "gradient_rms": 1, "gradient_mean": 2, "logit_norm": 0}
Array = NDArray[np.float64]


def plot_paths(frame: pd.DataFrame, path: str | Path | None = None) -> Figure:
    """Draw a path analysis: figure 6 of the paper, or what each length adds to the logits.

    Args:
        frame: Table of :func:`ensembles.paths`, in either direction.
        path: File to write (``.png``, ``.pdf`` or ``.svg``); None writes nothing.

    Returns:
        The figure, as wide as a paper's column.

    Raises:
        UsageError: If a column is missing, or the file's ending is unknown.
        OutputError: If the file cannot be written.
    """
    if "accuracy_up_to" in frame.columns:
        panels = [accuracy_by_length, logits_by_length]
    else:
        panels = [path_lengths, gradient_by_length, shares_by_length]
    figure, axes = new_figure(len(panels), height=2.0)
    for letter, ax, draw in zip(ascii_lowercase, axes, panels, strict=False):
        draw(frame, ax=ax)
        panel_letter(ax, letter)
    figure.align_ylabels(axes)
    if path is not None:
        save_figure(figure, path)
    return figure


def path_lengths(frame: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """How many paths each length has (figure 6a).

    Args:
        frame: Table of :func:`ensembles.paths`, or of :func:`ensembles.count_paths`.
        ax: Axes to draw into; a new figure's where None.

    Returns:
        The axes: x path length, y share of all paths.
    """
    require_columns(frame, "length", "paths")
    frame = _first(frame)
    counts = [int(number) for number in frame["paths"]]
    total = sum(counts)
    with paper_style():
        ax = axes_or_new(ax)
        ax.bar(
            frame["length"], [count / total for count in counts], width=0.8, color=look(0).colour
        )
        ax.yaxis.set_major_formatter(_percent)
        ax.set_ylabel(f"Share of {_power(total)} paths")
        _lengths(ax, frame)
    return ax


def gradient_by_length(frame: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """Norm of the gradient through a single path, on a log axis (figure 6b).

    Bands: two standard errors of random signs; the 95 % bootstrap interval of drawn paths.

    Args:
        frame: Table of :func:`ensembles.paths` in the direction "gradient".
        ax: Axes to draw into; a new figure's where None.

    Returns:
        The axes: x path length, y base-10 logarithm's scale of the L2 norm.

    Raises:
        UsageError: If a column is missing.
    """
    require_columns(frame, "length", "gradient_rms", "gradient_mean", "gradient_coherent")
    frame = _first(frame)
    with paper_style():
        ax = axes_or_new(ax)
        handles: list[Artist] = []
        for name in ("gradient_mean", "gradient_rms"):
            if frame[name].notna().any():
                handles += ax.plot(
                    frame["length"], _positive(frame[name]), label=_LABELS[name],
                    **_line(name, len(frame)),
                )  # fmt: skip
                low, high = _band(frame, name)
                ax.fill_between(
                    frame["length"], low, high, color=look(_LOOKS[name]).colour, alpha=0.25, lw=0
                )
        if frame["gradient_coherent"].notna().any():
            handles += ax.plot(
                frame["length"], _per_path(frame), label="sum of all paths over their number",
                **_line("gradient_coherent", len(frame)),
            )  # fmt: skip
        ax.set_yscale("log")
        ax.set_ylabel("Gradient of one path")
        _lengths(ax, frame)
        legend_above(ax, handles)
    return ax


def shares_by_length(frame: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """How much of the gradient each length holds: number of paths times norm (figure 6c).

    Each measure is drawn as a share of its sum; bars below the axis mark the shortest interval that
    holds 95 %.

    Args:
        frame: Table of :func:`ensembles.paths`.
        ax: Axes to draw into; a new figure's where None.

    Returns:
        The axes: x path length, y share of the measure.

    Raises:
        UsageError: If the table holds no measure.
    """
    require_columns(frame, "length", "paths")
    frame = _first(frame)
    intervals = effective_paths(frame).set_index("measure")
    names = [n for n in _LABELS if n in frame.columns and frame[n].notna().any()]
    if not names:
        raise UsageError("the table of paths holds no measure to draw")
    with paper_style():
        ax = axes_or_new(ax)
        handles: list[Artist] = []
        for place, name in enumerate(names):
            shares = _shares(frame, name)
            handles += ax.plot(
                frame["length"], shares, label=_label(name), **_line(name, len(frame))
            )
            if _MEASURES[name] in intervals.index:
                row = intervals.loc[_MEASURES[name]]
                height = -0.035 * (place + 1)
                ax.plot(
                    [row["first"], row["last"]], [height, height], lw=2.5,
                    color=look(_LOOKS[name]).colour, solid_capstyle="butt",
                    transform=ax.get_xaxis_transform(), clip_on=False,
                )  # fmt: skip
        ax.tick_params(axis="x", pad=3 + 3 * len(names))
        ax.set_ylim(bottom=0)
        ax.yaxis.set_major_formatter(_percent)
        ax.set_ylabel("Share of the total")
        _lengths(ax, frame)
        handles.append(Line2D([], [], color=GREY, lw=2.5, label="95% interval"))
        legend_above(ax, handles)
    return ax


def accuracy_by_length(frame: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """Accuracy of the ensemble of all paths up to a length, from it on, and of it alone.

    Args:
        frame: Table of :func:`ensembles.paths` in the direction "logits".
        ax: Axes to draw into; a new figure's where None.

    Returns:
        The axes: x path length, y accuracy; dashed, the whole network.

    Raises:
        UsageError: If a column is missing.
    """
    require_columns(frame, "length", "accuracy_up_to", "accuracy_from", "accuracy_alone")
    frame = _first(frame)
    labels = {
        "accuracy_up_to": "paths up to this length",
        "accuracy_from": "paths from this length on",
        "accuracy_alone": "paths of this length",
    }
    with paper_style():
        ax = axes_or_new(ax)
        handles: list[Artist] = []
        for index, (name, label) in enumerate(labels.items()):
            style = look(index).line | {"markevery": _every(len(frame))}
            handles += ax.plot(frame["length"], frame[name], label=label, **style)
        whole = float(frame["accuracy_up_to"].iloc[-1])
        handles.append(
            ax.axhline(whole, color=GREY, ls=(0, (3, 2)), lw=0.8, label="all paths", zorder=1)
        )
        ax.set_ylim(0, 1.04)
        ax.yaxis.set_major_formatter(_percent)
        ax.set_ylabel("Accuracy")
        _lengths(ax, frame)
        legend_above(ax, handles)
    return ax


def logits_by_length(frame: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """Norm of what all paths of a length add to the logits, on a log axis.

    Args:
        frame: Table of :func:`ensembles.paths` in the direction "logits".
        ax: Axes to draw into; a new figure's where None.

    Returns:
        The axes: x path length, y L2 norm, mean over images.

    Raises:
        UsageError: If a column is missing.
    """
    require_columns(frame, "length", "logit_norm")
    frame = _first(frame)
    with paper_style():
        ax = axes_or_new(ax)
        handles: list[Artist] = list(
            ax.plot(
                frame["length"], _positive(frame["logit_norm"]), label=_LABELS["logit_norm"],
                **_line("logit_norm", len(frame)),
            )
        )  # fmt: skip
        norm = frame.attrs.get("constant_norm")
        if norm:
            handles.append(
                ax.axhline(norm, color=GREY, ls=(0, (3, 2)), lw=0.8, label="bias", zorder=1)
            )
        ax.set_yscale("log")
        ax.set_ylabel("Norm added to logits")
        _lengths(ax, frame)
        legend_above(ax, handles)
    return ax


def _first(frame: pd.DataFrame) -> pd.DataFrame:
    """The rows of the first place, or of all classes."""
    for column in ("at", "class"):
        if column in frame.columns and len(frame):
            attrs = frame.attrs
            frame = frame[frame[column] == frame[column].iloc[0]].reset_index(drop=True)
            frame.attrs = attrs
    return frame


def _shares(frame: pd.DataFrame, name: str) -> Array:
    counts = [int(number) for number in frame["paths"]]
    multiplied = name in ("gradient_rms", "gradient_mean")
    logs = frame[f"{name}_log10"].to_numpy(dtype=np.float64)
    values = relative(logs, counts if multiplied else None)
    total = values.sum()
    return values / total if total > 0 else values


def _per_path(frame: pd.DataFrame) -> Array:
    """The coherent gradient over the number of paths, by logarithms."""
    counts = np.array([log2_count(int(number)) for number in frame["paths"]]) * np.log10(2)
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        found = 10 ** (frame["gradient_coherent_log10"].to_numpy(dtype=np.float64) - counts)
    return np.where((found > 0) & np.isfinite(found), found, np.nan)


def _label(name: str) -> str:
    times = " × number" if name in ("gradient_rms", "gradient_mean") else ""
    return _LABELS[name] + times


def _line(name: str, count: int) -> dict[str, Any]:
    return look(_LOOKS[name]).line | {"markevery": _every(count)}


def _every(count: int) -> int:
    return max(1, count // 14)


def _band(frame: pd.DataFrame, name: str) -> tuple[Array, Array]:
    if name == "gradient_mean":
        low, high = frame["gradient_mean_low"], frame["gradient_mean_high"]
    else:
        low = frame[name] - 2 * frame[f"{name}_se"]
        high = frame[name] + 2 * frame[f"{name}_se"]
    return _positive(low), _positive(high)


def _positive(values: pd.Series[float]) -> Array:
    """Numbers for a log axis, NaN where there is none."""
    found = values.to_numpy(dtype=np.float64)
    return np.where(found > 0, found, np.nan)


def _percent(share: float, _place: float) -> str:
    """A tick as it is, without digits that say nothing: 2.5%, 10%."""
    return f"{100 * share:.3g}%"


def _power(total: int) -> str:
    """A number of paths as a power of two, where it is one."""
    if total & (total - 1) == 0 and total > 1024:
        return f"$2^{{{total.bit_length() - 1}}}$"
    return f"{total:,}" if total < 10**7 else f"{float(total):.2g}" if total < 10**300 else "all"


def _lengths(ax: Axes, frame: pd.DataFrame) -> None:
    ax.set_xlabel("Path length (blocks)")
    last = int(frame["length"].max())
    ax.set_xlim(-0.02 * last - 0.6, last * 1.02 + 0.6)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
