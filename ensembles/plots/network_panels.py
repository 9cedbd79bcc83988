"""Figures with panels of their own for each network, one below the other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ensembles.plots.layout import Panel, draw_panels
from ensembles.tables.networks import all_networks, series_labels

__all__ = ["network_panels"]


def network_panels(
    frames: pd.DataFrame | Sequence[pd.DataFrame],
    panels: Callable[[pd.DataFrame], Sequence[Panel]],
    path: str | Path | None = None,
    *,
    axes: Sequence[Axes] | None = None,
    labels: Sequence[str] | None = None,
    height: float = 2.2,
) -> Figure:
    """Draw the panels of each network.

    Args:
        frames: A table of one network, one for each network, or one that
            :func:`ensembles.tables.stack_frames` put together.
        panels: Gives the panels of one network's table.
        path: File to write (``.png``, ``.pdf`` or ``.svg``); None writes nothing.
        axes: Axes to draw into, one for each panel, network by network; a new figure's where None.
        labels: What the networks are called; by default their models.
        height: Of a new panel, in inches.

    Returns:
        The figure, as wide as a paper's column, or that of ``axes``; with several networks, or
        labels, each x axis names its network.

    Raises:
        UsageError: Axes or labels are more or fewer than needed, or the file's ending is unknown.
        OutputError: The file cannot be written.
    """
    tables = all_networks(frames, labels)
    named = len(tables) > 1 or labels is not None
    drawn = [
        replace(panel, name=f"{panel.name} of {label}", network=label) if named else panel
        for table, label in zip(tables, series_labels(tables), strict=True)
        for panel in panels(table)
    ]
    return draw_panels(drawn, path, axes=axes, height=height)
