"""The figure that suits a table of lesions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ensembles.errors import UsageError
from ensembles.plots.curves import form_of, has_each_block, kinds_of
from ensembles.plots.layout import Panel, draw_panels
from ensembles.plots.lesions import error_by_block, error_by_count, error_by_tau
from ensembles.plots.measures import Scale
from ensembles.statistics import require_columns
from ensembles.tables.networks import all_networks

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
    axes: Sequence[Axes] | None = None,
    metric: str = "error",
    labels: Sequence[str] | None = None,
    colours: Sequence[str] | None = None,
    legend: bool = True,
    scale: Scale = "linear",
) -> Figure:
    """Draw what the tables hold, in one panel for each kind of study.

    Lesions of single blocks are drawn by block, spans of one length by their first block, several
    sizes as boxes by size, reorderings by Kendall tau; networks that were studied alike share a
    panel. Where one block after the other is among several sizes, it has a panel of its own too.

    Args:
        frames: Table of lesions of one network, one table for each network, or one that
            :func:`ensembles.tables.stack_frames` put together.
        path: File to write (``.png``, ``.pdf`` or ``.svg``); None writes nothing.
        ax: Axes to draw into, where there is one kind of study; a new figure where None.
        axes: Axes to draw into, one for each kind of study, in the order by block, by size, by
            Kendall tau.
        metric: Column that is drawn, or the metric that it belongs to.
        labels: What legends call the networks; by default their models.
        colours: Those of the curves; by default a palette for all kinds of colour vision.
        legend: Whether there are legends.
        scale: Of the y axes: ``linear``, ``log`` or ``symlog``.

    Returns:
        The figure, as wide as a paper's column, and higher where legends need it; that of ``ax``
        or ``axes`` where they are given. Its panels are ``figure.axes``.

    Raises:
        UsageError: The tables hold no lesions, lack a column, or the file's ending tells no
            known format; or the axes are more or fewer than the kinds of study.
        OutputError: The file cannot be written.
    """
    tables = all_networks(frames, labels)
    panels = _panels(tables, metric)
    if not panels:
        raise UsageError("no lesions to draw: the tables hold the intact network only")
    own = [ax] if ax is not None else axes
    if own is None or len(np.ravel(np.asarray(own, dtype=object))) != len(panels):
        panels = _panels(tables, metric, singles=True)
    kinds = [kind for kind, _ in panels]
    design = {"metric": metric, "colours": colours, "legend": legend, "scale": scale}
    drawn = [
        Panel(
            f"{kind} by {form}" if kinds.count(kind) > 1 else kind,
            partial(_DRAW[form], *members, kind=kind, **design),
        )
        for (kind, form), members in panels.items()
    ]
    return draw_panels(drawn, path, axes=own)


def _panels(
    tables: Sequence[pd.DataFrame], metric: str, *, singles: bool = False
) -> dict[tuple[str, str], list[pd.DataFrame]]:
    """The tables that each panel draws, by kind and form.

    Args:
        tables: A table for each network.
        metric: What is drawn.
        singles: Whether lesions of every single block have a panel of their own beside sizes.
    """
    found: dict[tuple[str, str], list[pd.DataFrame]] = {}
    for frame in tables:
        plain = ("error",) if metric == "error" else ()
        require_columns(frame, "lesion", "count", "blocks", *plain)
        for kind in kinds_of(frame):
            form = form_of(frame, kind)
            found.setdefault((kind, form), []).append(frame)
            if singles and form == "count" and has_each_block(frame, kind):
                found.setdefault((kind, "block"), []).append(frame)
    order = list(_DRAW)
    return dict(sorted(found.items(), key=lambda item: (order.index(item[0][1]), item[0][0])))
