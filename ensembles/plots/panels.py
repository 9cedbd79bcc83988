"""The figure that suits a table of lesions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from string import ascii_lowercase

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure

from ensembles.errors import UsageError
from ensembles.plots.curves import form_of, kinds_of
from ensembles.plots.lesions import error_by_block, error_by_count, error_by_tau
from ensembles.plots.style import make_room, new_figure, panel_letter, save_figure
from ensembles.statistics import require_columns
from ensembles.tables.frames import split_frames

__all__ = ["plot_lesions"]

_DRAW: dict[str, Callable[..., Axes]] = {
    "block": error_by_block,
    "count": error_by_count,
    "tau": error_by_tau,
}
"""How each form is drawn, in the order of the panels."""


def plot_lesions(
    frames: pd.DataFrame | Sequence[pd.DataFrame],
    path: str | Path | None = None,
    *,
    ax: Axes | None = None,
    metric: str = "error",
) -> Figure:
    """Draw what the tables hold, in one panel for each kind of study.

    Lesions of single blocks are drawn by block, spans of one length by their first block, several
    sizes as boxes by size, reorderings by Kendall tau; networks that were studied alike share a
    panel.

    Args:
        frames: Table of lesions of one network, one table for each network, or one that
            :func:`ensembles.tables.stack_frames` put together.
        path: File to write (``.png``, ``.pdf`` or ``.svg``); None writes nothing.
        ax: Axes to draw into, where there is one kind of study; a new figure where None.
        metric: Column that is drawn, or the metric that it belongs to.

    Returns:
        The figure, as wide as a paper's column, and higher where legends need it; that of ``ax``
        where it is given.

    Raises:
        UsageError: The tables hold no lesions, lack a column, or the file's ending tells no
            known format; or ``ax`` is one and the kinds of study are several.
        OutputError: The file cannot be written.
    """
    given = [frames] if isinstance(frames, pd.DataFrame) else frames
    panels = _panels([table for frame in given for table in split_frames(frame)], metric)
    if not panels:
        raise UsageError("no lesions to draw: the tables hold the intact network only")
    if ax is None:
        figure, axes = new_figure(len(panels))
    elif len(panels) == 1:
        figure, axes = _figure_of(ax), [ax]
    else:
        names = ", ".join(kind for kind, _ in panels)
        raise UsageError(
            f"{len(panels)} kinds of study for one axes ({names}): give tables of one, or no axes"
        )
    for letter, axis, ((kind, form), members) in zip(
        ascii_lowercase, axes, panels.items(), strict=False
    ):
        _DRAW[form](*members, kind=kind, metric=metric, ax=axis)
        if len(panels) > 1:
            panel_letter(axis, letter)
    if ax is None:
        figure.align_ylabels(axes)
        make_room(figure, axes)
    if path is not None:
        save_figure(figure, path)
    return figure


def _panels(
    tables: Sequence[pd.DataFrame], metric: str
) -> dict[tuple[str, str], list[pd.DataFrame]]:
    """The tables that each panel draws, by kind and form."""
    found: dict[tuple[str, str], list[pd.DataFrame]] = {}
    for frame in tables:
        plain = ("error",) if metric == "error" else ()
        require_columns(frame, "lesion", "count", "blocks", *plain)
        for kind in kinds_of(frame):
            found.setdefault((kind, form_of(frame, kind)), []).append(frame)
    order = list(_DRAW)
    return dict(sorted(found.items(), key=lambda item: (order.index(item[0][1]), item[0][0])))


def _figure_of(ax: Axes) -> Figure:
    figure = ax.figure
    while isinstance(figure, SubFigure):
        figure = figure.figure
    if figure is None:
        raise UsageError("the axes belong to no figure")
    return figure
