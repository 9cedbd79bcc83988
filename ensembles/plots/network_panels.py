"""A panel for each network, one below the other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ensembles.plots.layout import letters, make_room, new_figure, panel_letter
from ensembles.plots.style import save_figure
from ensembles.tables.networks import all_networks, series_labels

__all__ = ["network_panels"]


def network_panels(
    frames: pd.DataFrame | Sequence[pd.DataFrame],
    draw: Callable[[pd.DataFrame, Axes], object],
    path: str | Path | None = None,
) -> Figure:
    """Draw the table of each network into a panel of its own.

    Args:
        frames: A table of one network, one for each network, or one that
            :func:`ensembles.tables.stack_frames` put together.
        draw: Draws a table into axes.
        path: File to write (``.png``, ``.pdf`` or ``.svg``); None writes nothing.

    Returns:
        The figure, as wide as a paper's column; with several networks the label of each x axis
        names its network.

    Raises:
        UsageError: The file's ending is unknown.
        OutputError: The file cannot be written.
    """
    given = [frames] if isinstance(frames, pd.DataFrame) else list(frames)
    tables = all_networks(given)
    figure, axes = new_figure(len(tables), height=2.2)
    labels = series_labels(tables)
    for letter, ax, table, label in zip(letters(), axes, tables, labels, strict=False):
        draw(table, ax)
        if len(tables) > 1:
            panel_letter(ax, letter)
            ax.set_xlabel(f"{ax.get_xlabel()} of {label}")
    make_room(figure, axes)
    if path is not None:
        save_figure(figure, path)
    return figure
