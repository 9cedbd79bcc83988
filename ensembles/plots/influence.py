"""The figure of influence: what deleting a block costs, against what the intact network shows."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ensembles.errors import UsageError
from ensembles.plots.layout import Panel, axes_or_new, draw_panels
from ensembles.plots.measures import counted
from ensembles.plots.style import GREY, legend_above, look, paper_style, whiskers
from ensembles.tables.networks import all_networks, series_labels
from ensembles.tables.schema import require_columns

__all__ = ["damage_by_proxy", "plot_influence"]

_LABELS = {
    "influence": "1 - cosine of input and output",
    "angle": "Angle between input and output, over $\\pi$",
    "branch_ratio": "Norm of the branch over that of its input",
    "branch_cosine": "Cosine of branch and input",
    "loss_rise": "Rise of the loss (nats)",
    "accuracy_fall": "Fall of the accuracy",
    "kl": "KL(intact || deleted) (nats)",
    "agreement": "Agreement with the intact network",
}
_PANELS = ("influence", "branch_ratio", "branch_cosine")
_SMALL = 0.01  # of a rise of the loss, below which the axis is linear


def plot_influence(
    frames: pd.DataFrame | Sequence[pd.DataFrame],
    path: str | Path | None = None,
    *,
    axes: Sequence[Axes] | None = None,
    labels: Sequence[str] | None = None,
    colours: Sequence[str] | None = None,
    legend: bool = True,
) -> Figure:
    """Draw the rise of the loss against each proxy; a point is a block.

    Args:
        frames: Table of ``ensembles.analyze(net, data, "influence")`` of one network, one for each
            network, or one that :func:`ensembles.tables.stack_frames` put together.
        path: File to write (``.png``, ``.pdf`` or ``.svg``); None writes nothing.
        axes: Axes to draw into, one for each proxy that the tables hold (cosine, norm of the
            branch, cosine of the branch); a new figure's where None.
        labels: What the legend calls the networks; by default their models.
        colours: Those of the networks; by default a palette for all kinds of colour vision.
        legend: Whether the first panel has one.

    Returns:
        The figure, as wide as a paper's column, or that of ``axes``.

    Raises:
        UsageError: A column is missing, no block has both numbers, the axes are more or fewer than
            the panels, or the file's ending is unknown.
        OutputError: The file cannot be written.
    """
    tables = all_networks(frames, labels, key=("block",))
    panels = [name for name in _PANELS if any(_known(one, name).any() for one in tables)]
    if not panels:
        raise UsageError("no block has both a proxy and a rise of the loss; there is no figure")
    drawn = [
        Panel(name, partial(
            damage_by_proxy, *tables, proxy=name, colours=colours,
            legend=legend and name == panels[0],
        ))
        for name in panels
    ]  # fmt: skip
    return draw_panels(drawn, path, axes=axes, height=2.0)


def damage_by_proxy(
    *frames: pd.DataFrame,
    proxy: str = "influence",
    damage: str = "loss_rise",
    ax: Axes | None = None,
    labels: Sequence[str] | None = None,
    colours: Sequence[str] | None = None,
    legend: bool = True,
) -> Axes:
    """What deleting each block costs, against a number of the intact network.

    Hollow markers: blocks whose shortcut is not the identity. Whiskers: 95 % intervals of the
    damage over rows, where the table has them. The rank correlation stands below the axis where
    there is one network.

    Args:
        frames: Table of influence of each network.
        proxy: Column for the x axis.
        damage: Column for the y axis.
        ax: Axes to draw into; a new figure's where None.
        labels: What the legend calls the networks; by default their models.
        colours: Those of the networks.
        legend: Whether to name the networks and the hollow markers.

    Raises:
        UsageError: A column is missing.
    """
    frames = tuple(all_networks(frames, labels, key=("block",)))
    for frame in frames:
        require_columns(frame, proxy, damage, "against")
    with paper_style():
        ax = axes_or_new(ax)
        if damage == "loss_rise":  # before anything is drawn, so that the margins are right
            ax.set_yscale("symlog", linthresh=_SMALL)
            ax.axhline(0, color=GREY, linewidth=0.6)
        ax.margins(0.06, 0.1)
        handles: list[Artist] = []
        whiskered = False
        for index, (frame, label) in enumerate(zip(frames, series_labels(frames), strict=True)):
            style = look(index, colours)
            known = frame[_known(frame, proxy, damage)]
            other = (known["against"] == "shortcut").to_numpy()
            x, y = known[proxy].to_numpy(float), known[damage].to_numpy(float)
            if f"{damage}_low" in known.columns:
                whiskered = True
                low, high = (known[f"{damage}_{end}"].to_numpy(float) for end in ("low", "high"))
                ax.vlines(x, low, high, colors=style.colour, linewidth=0.6, alpha=0.6)
            for part, fill in ((~other, style.colour), (other, "white")):
                ax.plot(
                    x[part], y[part], style.marker,
                    color=style.colour, markerfacecolor=fill, markersize=4, markeredgewidth=0.8,
                )  # fmt: skip
            handles.append(
                Line2D([], [], color=style.colour, marker=style.marker, linestyle="", label=label)
            )
        if any((frame["against"] == "shortcut").any() for frame in frames):
            hollow: dict[str, Any] = {"marker": "o", "markerfacecolor": "white", "linestyle": ""}
            handles.append(Line2D([], [], color=GREY, label="transition", **hollow))
        stated = _correlation(frames[0], proxy, damage) if len(frames) == 1 else ""
        ax.set_xlabel(_LABELS.get(proxy, proxy) + stated)
        ax.set_ylabel(_LABELS.get(damage, damage))
        if legend:
            spread = [whiskers("95% interval")] if whiskered else []
            legend_above(ax, [*handles, *spread, *counted(frames)])
    return ax


def _known(frame: pd.DataFrame, *names: str) -> pd.Series[bool]:
    """Rows in which all of some columns, and the rise of the loss, have a value."""
    columns = [name for name in (*names, "loss_rise") if name in frame.columns]
    values = frame[columns].to_numpy(float)
    return pd.Series(np.isfinite(values).all(axis=1), index=frame.index)


def _correlation(frame: pd.DataFrame, proxy: str, damage: str) -> str:
    """The rank correlation of the two, as a further line of the axis' label."""
    for row in frame.attrs.get("correlations", []):
        if (row["proxy"], row["damage"]) == (proxy, damage) and row["value"] is not None:
            known = row["low"] is not None
            interval = f" ({row['low']:.2f} to {row['high']:.2f})" if known else ""
            return f"\nSpearman {row['value']:.2f}{interval}"
    return ""
