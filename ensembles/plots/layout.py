"""Figures as wide as a paper's column, their panels, and the axes that a caller brings."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from io import BytesIO
from itertools import count, product
from pathlib import Path
from string import ascii_lowercase

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure

from ensembles.errors import UsageError
from ensembles.plots.style import (
    COLUMN_WIDTH,
    legend_columns,
    legends_fitted,
    paper_style,
    save_figure,
    width_of,
)

__all__ = [
    "Panel", "PaperFigure", "axes_or_new", "draw_panels", "figure_of", "figure_width", "letters",
    "make_room", "new_figure", "panel_letter", "panels_or_new", "put_title",
]  # fmt: skip

_WIDTH: ContextVar[float] = ContextVar("width of figures in inches", default=COLUMN_WIDTH)
_SCREEN_DPI = 150
_TITLE = 0.25  # height of a line of a title, in inches
_ROW, _USUAL_ROWS = 0.14, 4  # height of a row of a legend, in inches, and rows that have room


class PaperFigure(Figure):
    """A figure that a notebook shows by itself, without pyplot or a magic line."""

    def _repr_png_(self) -> bytes:
        """The picture, as a notebook asks for it."""
        with BytesIO() as file, paper_style():
            self.savefig(file, format="png", dpi=_SCREEN_DPI)
            return file.getvalue()


@contextmanager
def figure_width(inches: float) -> Iterator[None]:
    """Make new figures in the body of another width than a paper's column.

    Args:
        inches: The width, 1 to 40; of many journals 3.25 for a column, 6.75 for a page.

    Raises:
        UsageError: It is less or more.
    """
    if not 1 <= inches <= 40:
        raise UsageError(f"a figure of {inches:g} inches; expected a width of 1 to 40")
    before = _WIDTH.set(inches)
    try:
        yield
    finally:
        _WIDTH.reset(before)


def new_figure(panels: int = 1, *, height: float = 2.4) -> tuple[Figure, list[Axes]]:
    """A figure as wide as a paper's column, with panels below each other.

    Args:
        panels: How many.
        height: Of one panel, in inches.
    """
    with paper_style():
        figure = PaperFigure(figsize=(_WIDTH.get(), height * panels), layout="constrained")
        grid = figure.subplots(panels, 1, squeeze=False)
    return figure, list(grid[:, 0])


def make_room(figure: Figure, axes: Sequence[Axes]) -> None:
    """Make panels below each other higher where their legend has more rows than the usual four.

    Args:
        figure: A figure of :func:`new_figure`.
        axes: Its panels, from top to bottom.
    """
    usual = figure.get_figheight() / len(axes)
    heights = [usual + _ROW * max(0, _legend_rows(ax) - _USUAL_ROWS) for ax in axes]
    if sum(heights) > figure.get_figheight():
        figure.set_figheight(sum(heights))
        spec = axes[0].get_subplotspec()
        assert spec is not None
        spec.get_gridspec().set_height_ratios(heights)


def _legend_rows(ax: Axes) -> int:
    legend = ax.get_legend()
    if legend is None:
        return 0
    names = [text.get_text() for text in legend.get_texts()]
    size = float(legend.get_texts()[0].get_fontsize())
    columns = legend_columns(names, size, width_of(ax))
    return math.ceil(len(names) / columns) + sum(name.count("\n") for name in names)


def axes_or_new(ax: Axes | None) -> Axes:
    """The axes given, or those of a new figure."""
    return new_figure()[1][0] if ax is None else ax


def figure_of(axes: Sequence[Axes]) -> Figure:
    """The figure that some axes belong to.

    Raises:
        UsageError: There are none, or the first belongs to none.
    """
    figure = axes[0].figure if axes else None
    while isinstance(figure, SubFigure):
        figure = figure.figure
    if figure is None:
        raise UsageError("no axes that belong to a figure; give some, or none for a new figure")
    return figure


def panels_or_new(
    axes: Sequence[Axes] | None, names: Sequence[str], height: float = 2.4
) -> tuple[Figure, list[Axes]]:
    """The axes given, or those of a new figure.

    Args:
        axes: Axes to draw into, in order; None for a new figure's.
        names: What each panel shows, for messages.
        height: Of a new panel, in inches.

    Raises:
        UsageError: There are more or fewer axes than panels.
    """
    if axes is None:
        return new_figure(len(names), height=height)
    given = list(np.ravel(np.asarray(axes, dtype=object)))
    if len(given) != len(names):
        raise UsageError(
            f"{len(given)} axes for {len(names)} panels ({', '.join(names)}): give as many, or none"
        )
    return figure_of(given), given


@dataclass(frozen=True)
class Panel:
    """One panel of a figure.

    Attributes:
        name: What it shows, for messages.
        draw: Draws it into ``ax``.
        network: What its axis calls the network, where panels are of several.
    """

    name: str
    draw: Callable[..., object]
    network: str = ""


def draw_panels(
    panels: Sequence[Panel],
    path: str | Path | None = None,
    *,
    axes: Sequence[Axes] | None = None,
    height: float = 2.4,
) -> Figure:
    """Draw panels below each other, with letters where there are several.

    Args:
        panels: What is drawn, from top to bottom.
        path: File to write (``.png``, ``.pdf`` or ``.svg``); None writes nothing.
        axes: Axes to draw into, one for each panel; a new figure's where None.
        height: Of a new panel, in inches; more where its legend needs it.

    Returns:
        The figure, as wide as a paper's column, or that of ``axes``.

    Raises:
        UsageError: The axes are more or fewer than the panels, or the file's ending is unknown.
        OutputError: The file cannot be written.
    """
    figure, found = panels_or_new(axes, [panel.name for panel in panels], height)
    with legends_fitted(found):
        for letter, ax, panel in zip(letters(), found, panels, strict=False):
            panel.draw(ax=ax)
            if len(panels) > 1:
                panel_letter(ax, letter)
            if panel.network:
                ax.set_xlabel(f"{ax.get_xlabel()},\n{panel.network}")
        if axes is None:
            figure.align_ylabels([ax for ax in found if ax.get_aspect() == "auto"])
    if axes is None:
        make_room(figure, found)
    if path is not None:
        save_figure(figure, path)
    return figure


def put_title(figure: Figure, title: str) -> None:
    """Write a title above all panels, in room of its own."""
    with paper_style():
        figure.set_figheight(figure.get_figheight() + _TITLE * (1 + title.count("\n")))
        figure.suptitle(title, fontsize=9)


def letters() -> Iterator[str]:
    """What panels are called, without end: a to z, then aa, ab and so on."""
    for size in count(1):
        for found in product(ascii_lowercase, repeat=size):
            yield "".join(found)


def panel_letter(ax: Axes, letter: str) -> None:
    """Write the letter of a panel above its left corner."""
    with paper_style():
        ax.annotate(
            f"({letter})", (0, 1), (-30, 6), xycoords="axes fraction",
            textcoords="offset points", fontweight="bold",
        )  # fmt: skip
