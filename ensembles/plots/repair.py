"""The figure of repair: direct and total effects, by block and against each other."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ensembles.plots.layout import axes_or_new, letters, make_room, new_figure, panel_letter
from ensembles.plots.style import DOTTED, GREY, legend_above, look, paper_style, proxy, save_figure
from ensembles.tables.networks import all_networks, series_labels
from ensembles.tables.schema import require_columns

__all__ = ["effects_by_block", "plot_repair", "total_by_direct"]

_EFFECTS = {"direct": "direct", "total": "total, by deletion"}
_LOGIT = "Effect on the right logit"
_WIDE = 30  # the largest value over the median one, from which on axes are logarithmic


def plot_repair(
    frames: pd.DataFrame | Sequence[pd.DataFrame], path: str | Path | None = None
) -> Figure:
    """Draw both effects by block, and the total against the direct one, panels a network.

    Args:
        frames: Table of ``ensembles.analyze(net, data, "repair")`` of one network, one for each
            network, or one that :func:`ensembles.tables.stack_frames` put together.
        path: File to write (``.png``, ``.pdf`` or ``.svg``); None writes nothing.

    Returns:
        The figure, as wide as a paper's column.

    Raises:
        UsageError: A column is missing, or the file's ending is unknown.
        OutputError: The file cannot be written.
    """
    given = [frames] if isinstance(frames, pd.DataFrame) else list(frames)
    tables = all_networks(given)
    figure, axes = new_figure(2 * len(tables), height=2.4)
    panels = [(table, draw) for table in tables for draw in (effects_by_block, total_by_direct)]
    labels = [label for label in series_labels(tables) for _ in range(2)]
    for letter, ax, (table, draw), label in zip(letters(), axes, panels, labels, strict=False):
        draw(table, ax=ax)
        panel_letter(ax, letter)
        if len(tables) > 1:
            ax.set_xlabel(f"{ax.get_xlabel()},\n{label}")
    figure.align_ylabels(axes)
    make_room(figure, axes)
    if path is not None:
        save_figure(figure, path)
    return figure


def effects_by_block(
    frame: pd.DataFrame,
    *,
    ax: Axes | None = None,
    colours: Sequence[str] | None = None,
    legend: bool = True,
) -> Axes:
    """Direct and total effect of each block; what lies between the curves is repair.

    Whiskers: 95 % interval over rows of the data.

    Args:
        frame: A table of repair of one network.
        ax: Axes to draw into; a new figure's where None.
        colours: Those of the curves, in the order of the legend.
        legend: Whether to draw one.

    Raises:
        UsageError: A column is missing.
    """
    _require(frame, "block")
    with paper_style():
        ax = axes_or_new(ax)
        ax.axhline(0, color=GREY, linewidth=0.6)
        threshold = _linear_below(frame)
        if threshold:
            ax.set_yscale("symlog", linthresh=threshold)
        for index, (name, label) in enumerate(_EFFECTS.items()):
            ax.errorbar(
                frame["block"], frame[name], _whiskers(frame, name), label=label, elinewidth=0.5,
                markersize=2.5, **look(index, colours).line,
            )  # fmt: skip
        ax.xaxis.set_major_locator(MaxNLocator(8, integer=True))
        ax.margins(x=0.02)
        ax.set_xlabel("Block")
        ax.set_ylabel(_LOGIT)
        if legend:
            legend_above(ax, ax.get_legend_handles_labels()[0])
    return ax


def total_by_direct(
    frame: pd.DataFrame,
    *,
    ax: Axes | None = None,
    colours: Sequence[str] | None = None,
    legend: bool = True,
) -> Axes:
    """The total effect of each block against its direct one.

    On the diagonal nothing is repaired, on the line at 0 all is. Whiskers: 95 % intervals.

    Args:
        frame: A table of repair of one network.
        ax: Axes to draw into; a new figure's where None.
        colours: Its first is that of the points.
        legend: Whether to draw one.

    Raises:
        UsageError: A column is missing.
    """
    _require(frame, "block")
    with paper_style():
        ax = axes_or_new(ax)
        threshold = _linear_below(frame)
        if threshold:
            ax.set_xscale("symlog", linthresh=threshold)
            ax.set_yscale("symlog", linthresh=threshold)
        ax.axhline(0, color=GREY, linewidth=0.6)
        x = frame["direct"].to_numpy(float)
        known = x[np.isfinite(x)]
        if known.size:
            low, high = min(float(known.min()), 0.0), max(float(known.max()), 0.0)
            line = np.unique([*np.linspace(low, high, 200), *known])
            ax.plot(line, line, color=GREY, linewidth=0.8, linestyle=DOTTED)
        style = look(0, colours)
        ax.errorbar(
            x, frame["total"], _whiskers(frame, "total"), _whiskers(frame, "direct"),
            linestyle="", marker=style.marker, color=style.colour, markersize=3, elinewidth=0.5,
        )  # fmt: skip
        ax.set_xlabel("Direct effect on the right logit")
        ax.set_ylabel("Total effect, by deletion")
        if legend:
            handles = [
                proxy("block", marker=style.marker, color=style.colour),
                proxy("no repair", color=GREY, linestyle=DOTTED),
            ]
            legend_above(ax, handles)
    return ax


def _require(frame: pd.DataFrame, *more: str) -> None:
    ends = [f"{name}_{end}" for name in _EFFECTS for end in ("low", "high")]
    require_columns(frame, *more, *_EFFECTS, *ends)


def _whiskers(frame: pd.DataFrame, name: str) -> list[np.ndarray]:
    value, low, high = (frame[f"{name}{end}"].to_numpy(float) for end in ("", "_low", "_high"))
    return [np.nan_to_num((value - low).clip(min=0)), np.nan_to_num((high - value).clip(min=0))]


def _linear_below(frame: pd.DataFrame) -> float:
    """Where logarithmic axes are linear around nought; 0 where all can be linear."""
    values = frame[list(_EFFECTS)].abs().to_numpy(float)
    values = values[np.isfinite(values) & (values > 0)]
    if not values.size or values.max() < _WIDE * np.median(values):
        return 0.0
    return float(10 ** np.floor(np.log10(np.median(values))))
