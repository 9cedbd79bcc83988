"""Panels of path analyses of logits: what the paths up to a length answer, and what each adds."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes

from ensembles.plots.layout import axes_or_new
from ensembles.plots.measures import counted
from ensembles.plots.path_marks import (
    Series,
    chosen,
    finish_lengths,
    line,
    networks,
    percent,
    positive,
)
from ensembles.plots.style import GREY, legend_above, look, paper_style
from ensembles.statistics import require_columns
from ensembles.tables.networks import series_labels

__all__ = ["PANELS", "accuracy_by_length", "logits_by_length"]

_WHOLE = (0, (3, 2))
_ACCURACIES = {
    "accuracy_up_to": "paths up to this length",
    "accuracy_from": "paths from this length on",
    "accuracy_alone": "paths of this length",
}


def accuracy_by_length(
    *frames: pd.DataFrame,
    ax: Axes | None = None,
    labels: Sequence[str] | None = None,
    colours: Sequence[str] | None = None,
    legend: bool = True,
) -> Axes:
    """Accuracy of the ensemble of all paths up to a length, from it on, and of it alone.

    Of several networks, that of all paths up to a length alone.

    Args:
        frames: Tables of :func:`ensembles.paths` in the direction "logits".
        ax: Axes to draw into; a new figure's where None.
        labels: What the legend calls the networks; by default their models.
        colours: Those of the curves.
        legend: Whether there is one, above the axes.

    Returns:
        The axes: x path length, y accuracy; dashed, the whole network.

    Raises:
        UsageError: If a column is missing.
    """
    for frame in frames:
        require_columns(frame, "length", *_ACCURACIES)
    tables = networks(frames, labels)
    curves = [
        Series(tables[0], name, label, look(place, colours))
        for place, (name, label) in enumerate(_ACCURACIES.items())
    ]
    if len(tables) > 1:
        curves = [
            Series(frame, "accuracy_up_to", label, look(place, colours))
            for place, (frame, label) in enumerate(zip(tables, series_labels(tables), strict=True))
        ]
    with paper_style():
        ax = axes_or_new(ax)
        handles: list[Artist] = []
        for one in curves:
            handles += ax.plot(
                one.frame["length"], one.frame[one.column], label=one.label, **line(one)
            )
        for one in curves if len(tables) > 1 else curves[:1]:
            whole = float(one.frame["accuracy_up_to"].iloc[-1])
            colour = GREY if len(tables) == 1 else one.look.colour
            dashed = ax.axhline(whole, color=colour, ls=_WHOLE, lw=0.8, label="all paths", zorder=1)
        handles.append(dashed)
        ax.set_ylim(0, 1.04)
        ax.yaxis.set_major_formatter(percent)
        ax.set_ylabel("Accuracy" if len(tables) == 1 else "Accuracy of paths\nup to this length")
        finish_lengths(ax, tables)
        if legend:
            legend_above(ax, [*handles, *counted(tables)])
    return ax


def logits_by_length(
    *frames: pd.DataFrame,
    ax: Axes | None = None,
    measure: str | None = None,
    labels: Sequence[str] | None = None,
    colours: Sequence[str] | None = None,
    legend: bool = True,
) -> Axes:
    """Norm of what all paths of a length add to the logits, on a log axis.

    Args:
        frames: Tables of :func:`ensembles.paths` in the direction "logits".
        ax: Axes to draw into; a new figure's where None.
        measure: ``logit_norm``, the only one.
        labels: What the legend calls the networks; by default their models.
        colours: Those of the curves.
        legend: Whether there is one, above the axes.

    Returns:
        The axes: x path length, y L2 norm, mean over images.

    Raises:
        UsageError: If a column is missing, or there is no such measure.
    """
    for frame in frames:
        require_columns(frame, "length", "logit_norm")
    tables = networks(frames, labels)
    with paper_style():
        ax = axes_or_new(ax)
        handles: list[Artist] = []
        for one in chosen(tables, ("logit_norm",), measure, colours):
            values = positive(one.frame["logit_norm"])
            handles += ax.plot(one.frame["length"], values, label=one.label, **line(one))
        norm = tables[0].attrs.get("constant_norm") if len(tables) == 1 else None
        if norm:
            handles.append(ax.axhline(norm, color=GREY, ls=_WHOLE, lw=0.8, label="bias", zorder=1))
        ax.set_yscale("log")
        ax.set_ylabel("Norm added to logits")
        finish_lengths(ax, tables)
        if legend:
            legend_above(ax, handles)
    return ax


PANELS: dict[str, Callable[..., Axes]] = {
    "accuracy": accuracy_by_length,
    "logits": logits_by_length,
}
