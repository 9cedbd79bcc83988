"""The look of all figures: sizes, series that part in grey as in colour, legends, files.

Nothing here touches matplotlib's global settings or pyplot.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.colors import is_color_like, to_rgb
from matplotlib.figure import Figure, SubFigure
from matplotlib.font_manager import FontProperties
from matplotlib.lines import Line2D
from matplotlib.textpath import TextToPath

from ensembles.errors import UsageError
from ensembles.files import atomic, refusals
from ensembles.writable import check_writable

__all__ = [
    "COLUMN_WIDTH",
    "DOTTED",
    "FIGURES",
    "GREY",
    "INK",
    "INTACT_DASH",
    "Look",
    "curve_names",
    "legend_above",
    "legend_columns",
    "legends_fitted",
    "look",
    "paper_style",
    "proxy",
    "save_figure",
    "tint",
    "whiskers",
    "width_of",
]

COLUMN_WIDTH = 3.25
FIGURES = (".png", ".pdf", ".svg")
INK, GREY = "#333333", "#8a8a8a"
DOTTED, INTACT_DASH = (0, (1, 1.5)), (0, (3, 2))

_SETTINGS: dict[Any, Any] = {
    "axes.axisbelow": True,
    "axes.edgecolor": INK,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.labelsize": 8,
    "axes.linewidth": 0.6,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlesize": 8,
    "font.family": "DejaVu Sans",
    "font.size": 8,
    "grid.color": "#e4e4e4",
    "grid.linewidth": 0.5,
    "legend.fontsize": 7,
    "legend.title_fontsize": 7,
    "lines.linewidth": 1.0,
    "lines.markersize": 3.0,
    "pdf.fonttype": 42,
    "svg.fonttype": "none",
    "svg.hashsalt": "ensembles",
    "xtick.labelsize": 7,
    "xtick.major.width": 0.6,
    "ytick.labelsize": 7,
    "ytick.major.width": 0.6,
}
_HINTED = 1.04  # how much wider letters are on a screen than as curves, at most
_HANDLE, _SPACING = 2.4, 0.9  # of a legend, in units of its font size
_MORE_TO_COME: ContextVar[bool] = ContextVar("other panels are still to be drawn", default=False)
_NAMED = "_named_above"  # attribute of a legend: its handles, for another place
_UNDATED: dict[str, dict[str, Any]] = {
    ".png": {},
    ".pdf": {"CreationDate": None},
    ".svg": {"Date": None},
}


@dataclass(frozen=True)
class Look:
    """How one series is drawn; any two differ in marker and dash, the first ones in lightness.

    Attributes:
        colour: Of Okabe and Ito's palette for all kinds of colour vision.
        marker: Matplotlib's marker.
        dash: Matplotlib's line style.
    """

    colour: str
    marker: str
    dash: tuple[float, tuple[float, ...]]

    @property
    def line(self) -> dict[str, Any]:
        """Arguments of matplotlib's ``plot``."""
        return {"color": self.colour, "marker": self.marker, "linestyle": self.dash}


_LOOKS = (
    Look("#0072b2", "o", (0, ())),
    Look("#e69f00", "s", (0, (6, 1))),
    Look("#000000", "^", (0, (6, 1, 1, 1))),
    Look("#cc79a7", "D", (0, (3, 1, 1, 1))),
    Look("#00664b", "v", (0, (4, 1, 4, 1, 1, 1))),
    Look("#56b4e9", "P", (0, (8, 2))),
)


def look(index: int, colours: Sequence[str] | None = None) -> Look:
    """The look of series ``index``, from 0.

    Colours repeat after the sixth, with another marker and another dash; all repeats after 36.

    Args:
        index: Which series.
        colours: Colours as matplotlib names them, in place of the usual ones; the first is taken
            again after the last.

    Raises:
        UsageError: One of them is no colour, or there are none.
    """
    size = len(_LOOKS)
    plain, turned = _LOOKS[index % size], _LOOKS[(index + index // size) % size]
    if colours is None:
        return Look(plain.colour, turned.marker, turned.dash)
    wrong = [one for one in colours if not is_color_like(one)]
    if wrong or not colours:
        raise UsageError(
            f"colours {', '.join(map(repr, wrong)) or 'of none'}; expected names or codes of "
            "matplotlib's, such as 'black' or '#0072b2'"
        )
    return Look(colours[index % len(colours)], turned.marker, turned.dash)


@contextmanager
def paper_style() -> Iterator[None]:
    """Draw for a paper's column, and leave matplotlib's settings as they were."""
    with mpl.rc_context(_SETTINGS):
        yield


def tint(colour: str | tuple[float, float, float]) -> tuple[float, float, float]:
    """The colour, half way to white."""
    red, green, blue = to_rgb(colour)
    return (1 + red) / 2, (1 + green) / 2, (1 + blue) / 2


def proxy(label: str, **line: Any) -> Line2D:
    """An entry of a legend for something that is drawn in ink."""
    return Line2D([], [], **{"color": INK, "linestyle": "", "label": label, **line})


def whiskers(label: str) -> Line2D:
    """The entry of a legend that says what whiskers are."""
    return proxy(label, marker="|", markersize=8)


def curve_names(names: Sequence[str], labels: Sequence[str] | None) -> list[str]:
    """What the legend calls the curves of one network.

    Args:
        names: What they are called without labels.
        labels: What a caller calls them, if anything.

    Raises:
        UsageError: There are more or fewer labels than curves.
    """
    if labels is None:
        return list(names)
    if len(labels) != len(names):
        raise UsageError(
            f"{len(labels)} labels for {len(names)} curves ({', '.join(names)}); give one for each"
        )
    return [str(label) for label in labels]


def legend_above(ax: Axes, handles: Sequence[Artist]) -> None:
    """Put a legend above the axes, where it covers no data, in as many columns as fit.

    Args:
        ax: Axes with all their labels, since these decide how wide the axes are.
        handles: What the legend names, by their labels.
    """
    if not _MORE_TO_COME.get():
        _lay_out(ax.figure)
    _place(ax, tuple(handles))


@contextmanager
def legends_fitted(axes: Sequence[Axes]) -> Iterator[None]:
    """Draw into all axes of a figure, and fit their legends to them when that is done."""
    before = _MORE_TO_COME.set(True)
    try:
        yield
    finally:
        _MORE_TO_COME.reset(before)
    legends = ((ax, ax.get_legend()) for ax in axes)
    named = {ax: legend for ax, legend in legends if legend and hasattr(legend, _NAMED)}
    for legend in named.values():
        legend.set_in_layout(False)  # or one that is too wide would make its axes narrower
    _lay_out(axes[0].figure)
    for ax, legend in named.items():
        with paper_style():
            _place(ax, getattr(legend, _NAMED))


def _lay_out(figure: Figure | SubFigure) -> None:
    """Give axes their place, as drawing the figure would."""
    while isinstance(figure, SubFigure):
        figure = figure.figure
    engine = figure.get_layout_engine()
    if engine is not None:
        engine.execute(figure)


def _place(ax: Axes, handles: tuple[Artist, ...]) -> None:
    size, room = float(mpl.rcParams["legend.fontsize"]), width_of(ax)
    labels = [_broken(str(handle.get_label()), size, room) for handle in handles]
    legend = ax.legend(
        handles=list(handles),
        labels=labels,
        loc="lower left",
        bbox_to_anchor=(0, 1.0),
        ncols=legend_columns(labels, size, room),
        frameon=False,
        borderaxespad=0.4,
        borderpad=0,
        columnspacing=_SPACING,
        handlelength=_HANDLE - 0.5,
        handletextpad=0.5,
        labelspacing=0.3,
    )
    setattr(legend, _NAMED, handles)


def legend_columns(labels: Sequence[str], size: float, room: float) -> int:
    """The most columns in which the labels fit into ``room`` points."""
    widths = [_text_width(label, size) for label in labels]
    for columns in range(len(labels), 1, -1):
        parts = np.array_split(widths, columns)
        total = sum(part.max() + size * _HANDLE for part in parts) + size * _SPACING * (columns - 1)
        if total <= room:
            return columns
    return 1


def _broken(label: str, size: float, room: float) -> str:
    """The label, in two lines where it is wider than the axes and has a comma to break at."""
    name, comma, rest = label.rpartition(", ")
    if comma and _text_width(label, size) + size * _HANDLE > room:
        return f"{name},\n{rest}"
    return label


def _text_width(label: str, size: float) -> float:
    """Width of the longest line of a text, in points."""
    font, measure = FontProperties(size=size), TextToPath()
    return _HINTED * max(
        measure.get_text_width_height_descent(line, font, ismath=False)[0]
        for line in label.split("\n")
    )


def width_of(ax: Axes) -> float:
    """Width of the axes in points."""
    return float(ax.bbox.width * 72 / ax.figure.dpi)


def save_figure(figure: Figure, path: str | Path, *, dpi: int = 300) -> Path:
    """Write a figure; the same figure gives the same file.

    Args:
        figure: The figure.
        path: File with the ending ``.png``, ``.pdf`` or ``.svg`` (text stays text).
        dpi: Dots an inch, for PNG and for what a vector format holds as an image.

    Returns:
        The path.

    Raises:
        UsageError: The ending tells no known format.
        OutputError: The file cannot be written.
    """
    path = check_writable(path, FIGURES)
    kind = path.suffix.lower()
    with paper_style(), refusals(f"figure {path}"), atomic(path) as scratch:
        figure.savefig(scratch, format=kind[1:], dpi=dpi, metadata=_UNDATED[kind])
    return path
