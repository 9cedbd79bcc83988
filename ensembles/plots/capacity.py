"""The figure of capacity: what networks of growing size learn of true and of random labels."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator, PercentFormatter

from ensembles.plots.interval_marks import band_entry
from ensembles.plots.layout import Panel, axes_or_new, draw_panels
from ensembles.plots.style import (
    DOTTED,
    GREY,
    INK,
    Look,
    curve_names,
    legend_above,
    look,
    paper_style,
)
from ensembles.tables.networks import require_one_table
from ensembles.tables.schema import require_columns

__all__ = ["accuracy_by_size", "bits_by_size", "plot_capacity"]

_CURVES = {
    "accuracy": "true labels, test images",
    "learned": "true labels, training images",
    "random": "random labels, training images",
}


def plot_capacity(
    capacity: pd.DataFrame,
    path: str | Path | None = None,
    *,
    label_weights: float | None = None,
    axes: Sequence[Axes] | None = None,
    labels: Sequence[str] | None = None,
    colours: Sequence[str] | None = None,
    legend: bool = True,
) -> Figure:
    """Draw what networks of growing size learn of true and of random labels, and hold of these.

    Args:
        capacity: What ``ensembles.capacity`` returned: a row for each size.
        path: File to write (``.png``, ``.pdf`` or ``.svg``); None writes nothing.
        label_weights: Weights that the entropy of all labels asks for at two bits each: a vertical
            line.
        axes: Axes to draw into: two, for accuracy and bits; a new figure's where None.
        labels: What the legend calls the three curves: true labels on test and on training images,
            random labels.
        colours: Those of the three curves.
        legend: Whether the first panel has one.

    Returns:
        The figure: accuracy, and the bits that each parameter holds of random labels, beside two.

    Raises:
        UsageError: A column is missing, the table is of two data sets, axes or labels are more or
            fewer than needed, or the file's ending is unknown.
        OutputError: The file cannot be written.
    """
    shown = partial(
        accuracy_by_size, capacity, label_weights=label_weights, labels=labels, legend=legend
    )
    own = colours[2 % len(colours) :] if colours else None
    drawn = [
        Panel("accuracy", partial(shown, colours=colours)),
        Panel("bits", partial(bits_by_size, capacity, colours=own, legend=False)),
    ]
    return draw_panels(drawn, path, axes=axes, height=2.1)


def accuracy_by_size(
    capacity: pd.DataFrame,
    *,
    label_weights: float | None = None,
    ax: Axes | None = None,
    labels: Sequence[str] | None = None,
    colours: Sequence[str] | None = None,
    legend: bool = True,
) -> Axes:
    """Right answers by the number of parameters, for true and for random labels.

    Bands: Student's 95 % interval over seeds.

    Args:
        capacity: A row for each size: ``parameters``, ``accuracy``, ``learned`` and ``random``,
            each with ``_low`` and ``_high``.
        label_weights: Where a vertical line stands; see :func:`plot_capacity`.
        ax: Axes to draw into; a new figure's where None.
        labels: What the legend calls the three curves; by default as here.
        colours: Those of the three curves.
        legend: Whether there is one, above the axes.

    Returns:
        The axes: x number of parameters, on a scale of ratios, y share of right answers.

    Raises:
        UsageError: A column is missing, the table is of two data sets, or there are not three
            labels.
    """
    capacity = _of_sizes(capacity, *_CURVES)
    names = curve_names(list(_CURVES.values()), labels)
    with paper_style():
        ax = axes_or_new(ax)
        handles: list[Artist] = [
            _curve(ax, capacity, column, name, look(place, colours))
            for place, (column, name) in enumerate(zip(_CURVES, names, strict=True))
        ]
        ax.yaxis.set_major_formatter(PercentFormatter(1))
        ax.set_ylim(0, 1.03)
        if label_weights is not None:
            line: dict[str, Any] = {"color": GREY, "linestyle": DOTTED, "linewidth": 1}
            handles.append(ax.axvline(label_weights, label="entropy of labels / 2 bits", **line))
        _finish(ax, capacity, "Right answers", handles if legend else [])
    return ax


def bits_by_size(
    capacity: pd.DataFrame,
    *,
    ax: Axes | None = None,
    labels: Sequence[str] | None = None,
    colours: Sequence[str] | None = None,
    legend: bool = True,
) -> Axes:
    """Bits that each parameter holds of random labels, by the number of parameters.

    Band: Student's 95 % interval over seeds. Dotted: two bits a parameter.

    Args:
        capacity: A row for each size: ``parameters``, and ``bits_each`` with ``_low`` and
            ``_high``.
        ax: Axes to draw into; a new figure's where None.
        labels: What the legend calls the curve, one.
        colours: That of the curve, first.
        legend: Whether there is one, above the axes.

    Returns:
        The axes: x number of parameters, on a scale of ratios, y bits.

    Raises:
        UsageError: A column is missing, the table is of two data sets, or there is more than one
            label.
    """
    capacity = _of_sizes(capacity, "bits_each")
    [name] = curve_names(["random labels"], labels)
    style = look(0 if colours else 2, colours)
    with paper_style():
        ax = axes_or_new(ax)
        handles: list[Artist] = [_curve(ax, capacity, "bits_each", name, style)]
        ax.axhline(2, color=INK, linewidth=0.7, linestyle=DOTTED)
        ax.annotate(
            "two bits a weight", (1, 2), (-2, -3), xycoords=("axes fraction", "data"),
            textcoords="offset points", ha="right", va="top", fontsize=7,
        )  # fmt: skip
        ax.set_ylim(0, max(2.2, ax.get_ylim()[1]))
        _finish(ax, capacity, "Bits held a parameter", handles if legend else [])
    return ax


def _of_sizes(capacity: pd.DataFrame, *columns: str) -> pd.DataFrame:
    """The table, by size, where it has the columns and is of one data set."""
    ends = [f"{name}{end}" for name in columns for end in ("", "_low", "_high")]
    require_columns(capacity, "parameters", *ends)
    require_one_table(capacity, "a figure of capacity", "parameters")
    return capacity.sort_values("parameters")


def _curve(ax: Axes, rows: pd.DataFrame, column: str, label: str, style: Look) -> Line2D:
    """Mean with its band over seeds."""
    x = rows["parameters"]
    low, mean, high = (rows[f"{column}{end}"] for end in ("_low", "", "_high"))
    ax.fill_between(x, low, high, color=style.colour, alpha=0.2, linewidth=0)
    [line] = ax.plot(x, mean, label=label, zorder=3, **style.line)
    return line


def _finish(ax: Axes, rows: pd.DataFrame, label: str, handles: Sequence[Artist]) -> None:
    """Name the axes, with a tick at each size."""
    ax.set_xscale("log")
    ax.xaxis.set_major_locator(FixedLocator(list(rows["parameters"].to_numpy(float))))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    ax.set_xlabel("Parameters")
    ax.set_ylabel(label)
    if handles:
        band = band_entry("95% interval over seeds")
        legend_above(ax, [*handles, band])
