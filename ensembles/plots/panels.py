"""The figure that suits a table of lesions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from string import ascii_lowercase

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ensembles.errors import UsageError
from ensembles.plots.lesions import error_by_block, error_by_count, error_by_tau
from ensembles.plots.style import new_figure, paper_style, save_figure
from ensembles.statistics import require_columns
from ensembles.tables.frames import split_frames

__all__ = ["plot_lesions"]


def plot_lesions(
    frames: pd.DataFrame | Sequence[pd.DataFrame], path: str | Path | None = None
) -> Figure:
    """Draw what the tables hold, in one panel for each kind of study.

    Single deletions or duplications are drawn by block, several numbers of blocks as boxes by
    number, reorderings by Kendall tau; networks that were studied alike share a panel.

    Args:
        frames: Table of lesions of one network, one table for each network, or one that
            :func:`ensembles.tables.stack_frames` put together.
        path: File to write (``.png``, ``.pdf`` or ``.svg``); None writes nothing.

    Returns:
        The figure, as wide as a paper's column.

    Raises:
        UsageError: The tables hold no lesions, lack a column, or the file's ending tells no
            known format.
        OutputError: The file cannot be written.
    """
    given = [frames] if isinstance(frames, pd.DataFrame) else frames
    tables = [table for frame in given for table in split_frames(frame)]
    panels: dict[tuple[str, str], list[pd.DataFrame]] = {}
    for frame in tables:
        for study in _studies(frame):
            panels.setdefault(study, []).append(frame)
    if not panels:
        raise UsageError("no lesions to draw: the tables hold the intact network only")
    figure, axes = new_figure(len(panels))
    for letter, ax, ((kind, form), members) in zip(
        ascii_lowercase, axes, sorted(panels.items(), key=_place), strict=False
    ):
        _DRAW[form](kind)(*members, ax=ax)
        if len(panels) > 1:
            with paper_style():
                ax.annotate(
                    f"({letter})", (0, 1), (-30, 6), xycoords="axes fraction",
                    textcoords="offset points", fontweight="bold",
                )  # fmt: skip
    figure.align_ylabels(axes)
    if path is not None:
        save_figure(figure, path)
    return figure


def _studies(frame: pd.DataFrame) -> list[tuple[str, str]]:
    """Kinds of lesion in a table, each with the form that it is drawn in."""
    require_columns(frame, "lesion", "count", "blocks", "error")
    return [
        (str(kind), "tau" if kind == "reorder" else "block" if set(counts) == {1} else "count")
        for kind, counts in frame[frame["lesion"] != "none"].groupby("lesion")["count"]
    ]


_ORDER = ("block", "count", "tau")
_DRAW: dict[str, Callable[[str], Callable[..., Axes]]] = {
    "block": lambda kind: partial(error_by_block, kind=kind),
    "count": lambda kind: partial(error_by_count, kind=kind),
    "tau": lambda kind: error_by_tau,
}


def _place(panel: tuple[tuple[str, str], list[pd.DataFrame]]) -> tuple[int, str]:
    (kind, form), _ = panel
    return _ORDER.index(form), kind
