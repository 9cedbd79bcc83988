"""The figure of any table of results: its analysis draws it."""

from __future__ import annotations

from collections.abc import Sequence
from inspect import signature
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ensembles.analyses.base import Analysis
from ensembles.analyses.kinds import analysis_of
from ensembles.errors import UsageError
from ensembles.plots.style import save_figure
from ensembles.tables.networks import all_networks

__all__ = ["plot_analysis"]


def plot_analysis(
    frames: pd.DataFrame | Sequence[pd.DataFrame],
    path: str | Path | None = None,
    *,
    axes: Sequence[Axes] | None = None,
    labels: Sequence[str] | None = None,
    colours: Sequence[str] | str | None = None,
    legend: bool = True,
) -> Figure:
    """Draw tables of results as their analysis does; no model and no torch is needed.

    Args:
        frames: What `ensembles.analyze`, `lesion` or `paths` returned or
            `ensembles.read_frame` read: of one network, one for each network, or several in one.
        path: File to write (``.png``, ``.pdf`` or ``.svg``); None writes nothing.
        axes: Axes to draw into, one for each panel; a new figure's where None.
        labels: What the networks are called; by default their models.
        colours: Those of the curves; of a heat map the name of a colour map of matplotlib's.
        legend: Whether there are legends.

    Returns:
        The figure, as wide as a paper's column, or that of ``axes``.

    Raises:
        UsageError: If there are no tables, they are of several analyses or of none, there is
            nothing to draw, axes or labels are more or fewer than needed, the figure of an
            analysis from elsewhere takes no such thing, or the file's ending is unknown.
        OutputError: If the file cannot be written.
    """
    tables = all_networks(frames, labels)
    if not tables:
        raise UsageError("no tables to draw; expected one at least")
    analyses = {one.name: one for one in map(analysis_of, tables)}
    if len(analyses) > 1:
        raise UsageError(
            f"tables of {' and '.join(analyses)} have no figure together; draw those of one "
            "analysis at a time"
        )
    (analysis,) = analyses.values()
    given: dict[str, Any] = {"axes": axes, "labels": labels, "colours": colours}
    given = {name: value for name, value in given.items() if value is not None}
    if not legend:
        given["legend"] = False
    draw = analysis.drawing if type(analysis).draw is Analysis.draw else analysis.draw
    try:
        signature(draw).bind(tables, **given)
    except TypeError as error:
        raise UsageError(
            f"the figure of {analysis.name} does not take all of {', '.join(given)} ({error}); "
            "draw it without"
        ) from error
    figure: Figure = draw(tables, **given)
    if path is not None:
        save_figure(figure, path)
    return figure
