"""The tables of paths as curves: which column, in whose colours, with what band."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from ensembles.analyses.path_columns import log2_count, relative
from ensembles.errors import UsageError, nearest
from ensembles.plots.style import Look, look
from ensembles.tables.networks import all_networks, series_labels

__all__ = [
    "LABELS", "Array", "Series", "band", "chosen", "finish_lengths", "line", "networks", "per_path",
    "percent", "positive", "power_of_two", "shares",
]  # fmt: skip

LABELS = {
    "gradient_coherent": "sum of all paths, exact",
    "gradient_rms": "RMS of the single path",
    "gradient_mean": "mean of drawn paths",
    "logit_norm": "added to the logits, exact",
}
_COMPARED = ("gradient_rms", "gradient_mean", "gradient_coherent", "logit_norm")
"""What is drawn of several networks: the first of these that all have."""

_LOOKS = {"gradient_coherent": 0, "gradient_rms": 1, "gradient_mean": 2, "logit_norm": 0}
Array = NDArray[np.float64]


@dataclass(frozen=True)
class Series:
    """One curve: a column of one network's table.

    Attributes:
        frame: The table.
        column: Which of its measures.
        label: What the legend calls it.
        look: Colour, marker and dash.
    """

    frame: pd.DataFrame
    column: str
    label: str
    look: Look


def networks(
    frames: Sequence[pd.DataFrame], labels: Sequence[str] | None = None
) -> list[pd.DataFrame]:
    """A table for each network: of several places the first, of classes all.

    Raises:
        UsageError: There is none, or one holds a length twice.
    """
    found = [_first(frame) for frame in all_networks(frames, labels)]
    if not found:
        raise UsageError("no tables to draw: give one table of paths or more")
    for frame in found:
        if "length" in frame.columns and frame["length"].duplicated().any():
            raise UsageError(
                "a table of paths holds a length twice, as of two networks or runs: give a table "
                "for each"
            )
    return found


def chosen(
    frames: Sequence[pd.DataFrame],
    columns: Sequence[str],
    measure: str | None,
    colours: Sequence[str] | None,
) -> list[Series]:
    """What is drawn: of one network each of its measures, of several one measure of each.

    Args:
        frames: A table for each network.
        columns: The measures that the panel can show.
        measure: Which of them alone; by default all, or the first that all networks have.
        colours: Those of the curves.

    Raises:
        UsageError: There is no such measure in a table.
    """
    if measure is not None and measure not in columns:
        raise UsageError(
            f"measure '{measure}'; expected {', '.join(columns)}{nearest(measure, columns)}"
        )
    if len(frames) == 1:
        wanted = [measure] if measure else columns
        names = [name for name in wanted if _has(frames[0], name)]
        looks = [_LOOKS[name] if len(names) > 1 else 0 for name in names]
        found = [
            Series(frames[0], name, LABELS[name], look(place, colours))
            for name, place in zip(names, looks, strict=True)
        ]
    else:
        order = [measure] if measure else [name for name in _COMPARED if name in columns]
        name = next((one for one in order if all(_has(frame, one) for frame in frames)), None)
        found = [
            Series(frame, name, label, look(place, colours))
            for place, (frame, label) in enumerate(zip(frames, series_labels(frames), strict=True))
            if name is not None
        ]
    if not found:
        raise UsageError("the table of paths holds no measure to draw, or not all hold the same")
    return found


def _has(frame: pd.DataFrame, name: str) -> bool:
    return name in frame.columns and bool(frame[name].notna().any())


def _first(frame: pd.DataFrame) -> pd.DataFrame:
    """The rows of the first place, or of all classes."""
    for column in ("at", "class"):
        if column in frame.columns and len(frame):
            attrs = frame.attrs
            frame = frame[frame[column] == frame[column].iloc[0]].reset_index(drop=True)
            frame.attrs = attrs
    return frame


def line(series: Series) -> dict[str, Any]:
    """Arguments of matplotlib's ``plot``, with a marker here and there."""
    return series.look.line | {"markevery": max(1, len(series.frame) // 14)}


def shares(series: Series) -> Array:
    """Each length's share of the measure; of single paths, times their number."""
    frame = series.frame
    counts = [int(number) for number in frame["paths"]]
    multiplied = series.column in ("gradient_rms", "gradient_mean")
    logs = frame[f"{series.column}_log10"].to_numpy(dtype=np.float64)
    values = relative(logs, counts if multiplied else None)
    total = values.sum()
    return values / total if total > 0 else values


def per_path(frame: pd.DataFrame) -> Array:
    """The gradient of all paths of a length over their number, by logarithms."""
    counts = np.array([log2_count(int(number)) for number in frame["paths"]]) * np.log10(2)
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        found = 10 ** (frame["gradient_coherent_log10"].to_numpy(dtype=np.float64) - counts)
    return np.where((found > 0) & np.isfinite(found), found, np.nan)


def band(series: Series) -> tuple[Array, Array, str] | None:
    """Ends of the band around a curve, and what it is; None where there is none."""
    frame, name = series.frame, series.column
    if name == "gradient_mean":
        low, high = frame["gradient_mean_low"], frame["gradient_mean_high"]
        return positive(low), positive(high), "bootstrap 95% interval"
    if name == "gradient_rms":
        spread = 2 * frame[f"{name}_se"]
        return positive(frame[name] - spread), positive(frame[name] + spread), "2 standard errors"
    return None


def positive(values: pd.Series[float]) -> Array:
    """Numbers for a log axis, NaN where there is none."""
    found = values.to_numpy(dtype=np.float64)
    return np.where(found > 0, found, np.nan)


def percent(share: float, _place: float) -> str:
    """A tick as it is, without digits that say nothing: 2.5%, 10%."""
    return f"{100 * share:.3g}%"


def power_of_two(total: int) -> str:
    """A number of paths as a power of two, where it is one."""
    if total & (total - 1) == 0 and total > 1024:
        return f"$2^{{{total.bit_length() - 1}}}$"
    return f"{total:,}" if total < 10**7 else f"{float(total):.2g}" if total < 10**300 else "all"


def finish_lengths(ax: Axes, frames: Sequence[pd.DataFrame]) -> None:
    """Name the axis of lengths, and end it behind the longest path."""
    ax.set_xlabel("Path length (blocks)")
    last = max(int(frame["length"].max()) for frame in frames)
    ax.set_xlim(-0.02 * last - 0.6, last * 1.02 + 0.6)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
