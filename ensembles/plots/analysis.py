"""The figure of any table of results: its analysis draws it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from ensembles.analyses.kinds import analysis_of
from ensembles.errors import UsageError
from ensembles.plots.style import save_figure
from ensembles.tables.networks import all_networks

__all__ = ["plot_analysis"]


def plot_analysis(
    frames: pd.DataFrame | Sequence[pd.DataFrame], path: str | Path | None = None
) -> Figure:
    """Draw tables of results as their analysis does; no model and no torch is needed.

    Args:
        frames: What `ensembles.analyze`, `lesion` or `paths` returned or
            `ensembles.read_frame` read: of one network, one for each network, or several in one.
        path: File to write (``.png``, ``.pdf`` or ``.svg``); None writes nothing.

    Returns:
        The figure.

    Raises:
        UsageError: If there are no tables, they are of several analyses or of none, there is
            nothing to draw, or the file's ending is unknown.
        OutputError: If the file cannot be written.
    """
    given = [frames] if isinstance(frames, pd.DataFrame) else list(frames)
    tables = all_networks(given)
    if not tables:
        raise UsageError("no tables to draw; expected one at least")
    analyses = {one.name: one for one in map(analysis_of, tables)}
    if len(analyses) > 1:
        raise UsageError(
            f"tables of {' and '.join(analyses)} have no figure together; draw those of one "
            "analysis at a time"
        )
    (analysis,) = analyses.values()
    figure = analysis.draw(tables)
    if path is not None:
        save_figure(figure, path)
    return figure
