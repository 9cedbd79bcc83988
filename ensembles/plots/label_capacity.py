"""Accuracy against the number of parameters, for true and for random labels."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator, PercentFormatter

from ensembles.plots.layout import letters, panel_letter, panels_or_new
from ensembles.plots.style import DOTTED, GREY, INK, Look, legend_above, look, paper_style
from ensembles.tables.schema import require_columns

__all__ = ["label_capacity"]

_CURVES = {
    "accuracy": "true labels, test images",
    "learned": "true labels, training images",
    "random": "random labels, training images",
}


def label_capacity(
    capacity: pd.DataFrame,
    label_weights: float | None = None,
    *,
    axes: Sequence[Axes] | None = None,
    colours: Sequence[str] | None = None,
    legend: bool = True,
) -> Figure:
    """Draw what networks of growing size learn of true and of random labels.

    Args:
        capacity: A row for each size: ``parameters``, ``accuracy``, ``learned``, ``random`` and
            ``bits_each``, each with ``_low`` and ``_high``.
        label_weights: Weights that the entropy of all labels asks for at two bits each: a vertical
            line.
        axes: Two axes to draw into; a new figure's where None.
        colours: Those of the curves.
        legend: Whether there is one, above the first panel.

    Returns:
        The figure: accuracy, and the bits that each parameter holds of random labels, beside two.

    Raises:
        UsageError: A column is missing, or there are not two axes.
    """
    for column in (*_CURVES, "bits_each"):
        require_columns(capacity, "parameters", column, f"{column}_low", f"{column}_high")
    figure, panels = panels_or_new(axes, ["accuracy", "bits a parameter"], 2.1)
    rows = capacity.sort_values("parameters")
    x = rows["parameters"].to_numpy(float)
    with paper_style():
        handles: list[Artist] = []
        for place, (column, label) in enumerate(_CURVES.items()):
            handles.append(_curve(panels[0], rows, column, label, look(place, colours)))
        panels[0].yaxis.set_major_formatter(PercentFormatter(1))
        panels[0].set_ylim(0, 1.03)
        panels[0].set_ylabel("Right answers")
        if label_weights is not None:
            handles.append(
                panels[0].axvline(
                    label_weights, color=GREY, ls=DOTTED, lw=1, label="entropy of labels / 2 bits"
                )
            )
        _curve(panels[1], rows, "bits_each", "random labels", look(2, colours))
        panels[1].axhline(2, color=INK, lw=0.7, ls=":")
        panels[1].annotate(
            "two bits a weight", (1, 2), (-2, -3), xycoords=("axes fraction", "data"),
            textcoords="offset points", ha="right", va="top", fontsize=7,
        )  # fmt: skip
        panels[1].set_ylim(0, max(2.2, panels[1].get_ylim()[1]))
        panels[1].set_ylabel("Bits held a parameter")
        for ax, letter in zip(panels, letters(), strict=False):
            ax.set_xscale("log")
            ax.xaxis.set_major_locator(FixedLocator(list(x)))
            ax.xaxis.set_minor_locator(NullLocator())
            ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
            panel_letter(ax, letter)
        if legend:
            legend_above(panels[0], handles)
        panels[1].set_xlabel("Parameters")
        figure.align_ylabels(panels)
    return figure


def _curve(ax: Axes, rows: pd.DataFrame, column: str, label: str, style: Look) -> Line2D:
    """Mean with its band over seeds."""
    x = rows["parameters"]
    low, mean, high = (rows[f"{column}{end}"] for end in ("_low", "", "_high"))
    ax.fill_between(x, low, high, color=style.colour, alpha=0.2, lw=0)
    [line] = ax.plot(x, mean, label=label, zorder=3, **style.line)
    return line
