"""What the vertical axis of a figure of lesions shows: a column, its name, range and levels."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import ceil
from textwrap import fill
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator
from numpy.typing import NDArray

from ensembles.errors import UsageError, nearest
from ensembles.plots.style import DOTTED, INK, proxy
from ensembles.statistics import wilson_interval
from ensembles.tables.metric_columns import column_of, number_column
from ensembles.tables.schema import Attributes

__all__ = ["Measure", "Range", "Scale", "counted"]

Scale: TypeAlias = Literal["linear", "log", "symlog"]
_LARGER = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1)
_SHARES = {
    "symlog": (0, 0.005, *_LARGER),
    "log": (1e-4, 2e-4, 5e-4, 1e-3, 2e-3, 5e-3, *_LARGER),
}

_ERROR = "error"
_WIDEST = 30  # letters beside the axis of a panel


class Range:
    """What is drawn so far: the least and the greatest value, and the widest interval."""

    def __init__(self) -> None:
        self.lowest, self.highest, self.widest = np.inf, -np.inf, 0.0

    def add(self, low: Iterable[float], high: Iterable[float] | None = None) -> None:
        """Take in values, or the ends of intervals; NaN is left out."""
        first = np.asarray(list(low), float)
        last = first if high is None else np.asarray(list(high), float)
        self.lowest = float(np.fmin.reduce(first, initial=self.lowest))
        self.highest = float(np.fmax.reduce(last, initial=self.highest))
        self.widest = float(np.fmax.reduce(last - first, initial=self.widest))


@dataclass(frozen=True)
class Measure:
    """A column of numbers that a figure shows.

    Attributes:
        column: Its name.
        label: What the axis calls it.
        better: Whether more or less of it is better; None for neither.
        scale: Of the axis: ``linear``, ``log``, or ``symlog``, which is linear below a hundredth
            of the whole for errors, a thousandth of what is drawn for others.
    """

    column: str
    label: str
    better: str | None = None
    scale: Scale = "linear"

    @classmethod
    def of(cls, frames: Sequence[pd.DataFrame], name: str, scale: Scale = "linear") -> Measure:
        """The measure of some tables.

        Args:
            frames: Tables of lesions.
            name: Name of a column, or of a metric with a column of numbers.
            scale: Of the axis.

        Raises:
            UsageError: A table lacks it, or it holds no numbers; or there is no such scale.
        """
        if scale not in get_args(Scale):
            raise UsageError(f"scale '{scale}'; expected {', '.join(get_args(Scale))}")
        column = number_column(name, frames[0]) if frames else name
        for frame in frames:
            if column not in frame.columns:
                raise UsageError(_missing(frame, column))
            if not pd.api.types.is_numeric_dtype(frame[column]):
                raise UsageError(f"column {column} holds no numbers: choose another metric to draw")
        found = next(
            filter(None, (column_of(column, frame) for frame in frames)), column_of(column)
        )
        if found is None:
            return cls(column, column.replace("_", " "), scale=scale)
        label = f"{found.label} (%)" if column == _ERROR else found.label
        return cls(column, label, found.better, scale)

    @property
    def in_percent(self) -> bool:
        """Whether shares are written in per cent."""
        return self.column == _ERROR

    def intervals(self, frame: pd.DataFrame) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Ends of the interval of each row: Wilson's 95 %, where observations are counted."""
        values = frame[self.column].to_numpy(float)
        if self.column != _ERROR or not {"correct", "total"} <= set(frame.columns):
            return values, values
        low, high = wilson_interval(frame["total"] - frame["correct"], frame["total"])
        known = ~np.isnan(values)
        return np.where(known, low, np.nan), np.where(known, high, np.nan)

    def chances(self, frames: Sequence[pd.DataFrame]) -> list[float]:
        """The measure of a network that guesses, once where tables agree."""
        found = [Attributes.of(frame) for frame in frames]
        known = [one.chance if self.in_percent else one.chances.get(self.column) for one in found]
        return sorted({float(one) for one in known if one is not None and np.isfinite(one)})

    def draw_chances(self, ax: Axes, frames: Sequence[pd.DataFrame], drawn: Range) -> list[Artist]:
        """Draw the level of a network that guesses; it widens the range where it is near it.

        Args:
            ax: Axes.
            frames: The tables.
            drawn: What is drawn so far.

        Returns:
            The legend's part.
        """
        handles: list[Artist] = []
        highest = drawn.highest
        for chance in self.chances(frames):
            ax.axhline(
                chance, color=INK, linestyle=DOTTED, linewidth=0.9, label="_chance", zorder=1.7
            )
            near = highest >= chance / (3 if self.scale == "linear" else 100)
            if near:
                drawn.add([chance])
            written = f"{100 * chance:.3g}%" if self.in_percent else f"{chance:.3g}"
            label = f"chance ({written})" if near else f"chance ({written}), above"
            handles.append(proxy(label, linestyle=DOTTED, linewidth=0.9))
        return handles

    def limit(self, ax: Axes, lowest: float, highest: float) -> None:
        """Set the range of the axis: from 0, unless there is less than that."""
        if self.scale == "log" and lowest > 0:
            ax.set_yscale("log")
            ax.set_ylim(lowest / 1.3, highest * 1.3)
        elif self.scale != "linear":
            self._symlog(ax, lowest, highest)
        elif lowest >= 0:
            top = 1.04 * highest
            ax.set_ylim(0, (min(top, 1.02) if self.in_percent else top) or 1)
        else:
            room = 0.04 * max(highest - lowest, 1e-9)
            ax.set_ylim(lowest - room, highest + room)

    def _symlog(self, ax: Axes, lowest: float, highest: float) -> None:
        far = max(abs(lowest), abs(highest))
        linear = 0.01 if self.in_percent else (far / 1000 or 1.0)
        ax.set_yscale("symlog", linthresh=linear, linscale=0.5)
        top = 1.3 * max(highest, linear)
        ax.set_ylim(0 if lowest >= 0 else 1.3 * lowest, min(top, 1.3) if self.in_percent else top)

    def finish(self, ax: Axes) -> None:
        """Name the axis and choose its ticks."""
        lines = ceil(len(self.label) / _WIDEST)
        ax.set_ylabel(fill(self.label, ceil(len(self.label) / lines) + 3))
        if ax.get_yscale() == "linear":
            ax.yaxis.set_major_locator(MaxNLocator(nbins=6, steps=[1, 2, 2.5, 5, 10]))
        elif self.in_percent:
            ax.yaxis.set_major_locator(FixedLocator(_SHARES[ax.get_yscale()]))
            ax.yaxis.set_minor_locator(NullLocator())
        if self.in_percent:
            ax.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{round(100 * y, 6):g}"))


def counted(frames: Sequence[pd.DataFrame], key: str | None = None) -> list[Artist]:
    """The legend's part that says how many observations each number counts.

    Args:
        frames: Tables of lesions, or of an analysis whose attributes say it.
        key: The attribute that says it, where parts of a table are over other numbers of rows of
            the data than the rest; by default that of observations, else that of all rows.
    """
    attributes = [Attributes.of(frame) for frame in frames]
    what = next((one.observation for one in attributes if one.observation), None) or "image"
    totals: set[int] = set()
    if key is None:
        lesions = [one for one in frames if {"total", "correct"} <= set(one.columns)]
        totals = {int(number) for one in lesions for number in one["total"].dropna()}
        totals |= {one.observations for one in attributes if one.observations is not None}
        totals |= {one.provenance["images"] for one in attributes if _of_paths_of_images(one)}
    if not totals:
        totals = {int(one[key or "rows"]) for one in map(_plain, frames) if one.get(key or "rows")}
        what = "window" if what == "token" else what
    if not totals:
        return []
    low, high = min(totals), max(totals)
    number = f"{low:,}" if low == high else f"{low:,} to {high:,}"
    return [proxy(f"{number} {what}{'' if high == 1 else 's'}", linestyle="")]


def _plain(frame: pd.DataFrame) -> dict[str, Any]:
    """The attributes that are whole numbers."""
    return {str(key): one for key, one in frame.attrs.items() if isinstance(one, int)}


def _of_paths_of_images(attributes: Attributes) -> bool:
    made = attributes.provenance
    known = isinstance(made.get("images"), int) and "normalization" in made  # no text
    return attributes.direction is not None and known


def _missing(frame: pd.DataFrame, column: str) -> str:
    numbers = [str(name) for name in frame.select_dtypes("number").columns]
    return (
        f"table without the column {column}: it holds {', '.join(numbers) or 'no numbers'}"
        f"{nearest(column, numbers)}; measure it with metrics= or --metrics"
    )
