"""Results as a person reads them at a terminal."""

from __future__ import annotations

import math
import shutil
import sys
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ensembles.printable import printable

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["aligned", "lesion_summary", "lesion_table"]

_LEAST = 12  # letters of a text that stay
_INTERVAL = "95 % interval"
_WORDS = ("model", "lesion", "blocks", "name", _INTERVAL)


def aligned(
    head: Sequence[str],
    rows: Sequence[Sequence[str]],
    right: Collection[str] = (),
    *,
    whole: Collection[str] = (),
    room: int | None = None,
) -> list[str]:
    """Lay out cells in columns; those named in `right` are flush right.

    Args:
        head: Names of the columns.
        rows: The cells.
        right: Columns of numbers.
        whole: Columns of texts that keep all letters, as names that are typed and intervals do.
        room: Letters of a line; texts that do not fit lose their middle. By default those of the
            terminal; a pipe or a file gets everything.
    """
    cells = [[printable(cell, lines=False) for cell in row] for row in rows]
    rows = _elided(head, cells, {*right, *whole}, _terminal() if room is None else room)
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    return [
        "  ".join(
            cell.rjust(width) if name in right else cell.ljust(width)
            for cell, width, name in zip(row, widths, head, strict=True)
        ).rstrip()
        for row in (head, *rows)
    ]


def _terminal() -> int | None:
    """Letters of a line of the terminal that reads; None where none does."""
    stream = sys.stdout
    known = stream is not None and stream.isatty()
    return shutil.get_terminal_size().columns if known else None


def _elided(
    head: Sequence[str], rows: list[list[str]], kept: Collection[str], room: int | None
) -> list[list[str]]:
    """The rows, with the widest of the columns that are not kept cut until a line fits."""
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    texts = [place for place, name in enumerate(head) if name not in kept]
    excess = sum(widths) + 2 * (len(widths) - 1) - (room or 10**9)
    while excess > 0 and texts:
        widest = max(texts, key=lambda place: widths[place])
        least = max(_LEAST, len(head[widest]))
        if widths[widest] <= least:
            break
        cut = min(excess, widths[widest] - least)
        widths[widest] -= cut
        excess -= cut
    return [[_short(cell, width) for cell, width in zip(row, widths, strict=True)] for row in rows]


def _short(text: str, width: int) -> str:
    """The text with dots in place of its middle."""
    if len(text) <= width:
        return text
    tail = (width - 3) // 2
    return f"{text[: width - 3 - tail]}...{text[len(text) - tail :]}"


def lesion_table(frames: Sequence[pd.DataFrame]) -> list[str]:
    """One line for each lesion: the error in %, with its 95 % Wilson interval, and other measures.

    Measures that are lists of counts are left out; Kendall tau is there where an order was changed.
    """
    head = list(dict.fromkeys(name for frame in frames for name in _head(frame)))
    head = sorted(head, key=lambda name: name == "tau")  # as the last one
    if len(frames) > 1:
        head.insert(0, "model")
    rows = [
        [cells.get(name, "") for name in head] for frame in frames for cells in _all_cells(frame)
    ]
    right = [name for name in head if name not in _WORDS]
    return aligned(head, rows, right, whole=[_INTERVAL])


def lesion_summary(frame: pd.DataFrame) -> str:
    """What a sweep showed, in a line: by the error, or else by the first measure that there is."""
    from ensembles.tables.metric_columns import number_columns  # noqa: PLC0415 (pandas)
    from ensembles.tables.readings import read_rows  # noqa: PLC0415

    measures = [name for name in ("error", "loss", *number_columns(frame)) if name in frame.columns]
    start = f"{frame.attrs.get('model', 'the network')}: "
    whole = [one.is_intact and not one.recalibrated for one in read_rows(frame)]
    cut = frame[[not one.is_intact for one in read_rows(frame)]]
    lesions = f"{len(cut)} lesion{'s' if len(cut) != 1 else ''}"
    if not measures:
        return f"{start}{lesions}"
    measure = measures[0]
    intact = frame.loc[whole, measure]
    if len(intact):
        start += f"intact {_told(measure, float(intact.iloc[0]))}; "
    known = cut[cut[measure].notna()]
    if known.empty:
        return f"{start}{lesions}, none of them measured"
    worst = known.loc[_worst(known[measure], measure)]
    extreme = _told(measure, float(worst[measure])).partition(" ")[2]
    return (
        f"{start}{lesions}, median {_told(measure, float(known[measure].median()))}, "
        f"worst {extreme} ({worst['lesion']} {worst['blocks']})"
    )


def _head(frame: pd.DataFrame) -> list[str]:
    from ensembles.tables.metric_columns import number_columns  # noqa: PLC0415 (pandas)

    head = ["lesion", "blocks", "name", "correct", "total", "error %", _INTERVAL, "loss"]
    if "error" not in frame.columns:
        head = [name for name in head if name not in ("correct", "error %", _INTERVAL)]
    if "loss" not in frame.columns:
        head.remove("loss")
    ordered = frame.loc[frame["lesion"] != "none", "kendall_tau"].notna().any()
    return [*head, *number_columns(frame), *["tau"] * bool(ordered)]


def _all_cells(frame: pd.DataFrame) -> list[dict[str, str]]:
    from ensembles.statistics import error_intervals  # noqa: PLC0415 (pandas)
    from ensembles.tables.metric_columns import number_columns  # noqa: PLC0415

    model = str(frame.attrs.get("model", ""))
    others = [name for name in ("loss", *number_columns(frame)) if name in frame.columns]
    detail = error_intervals(frame) if {"error", "correct"} <= set(frame.columns) else frame
    return [
        {"model": model, **_cells(row), **{name: _number(row[name]) for name in others}}
        for row in detail.to_dict("records")
    ]


def _cells(row: Mapping[Any, Any]) -> dict[str, str]:
    cells = {
        "lesion": str(row["lesion"]),
        "blocks": str(row["blocks"]),
        "name": str(row["block_names"]) + (" (adapted)" if row["adapted"] else ""),
        "total": str(row["total"]),
        "tau": "" if row["lesion"] == "none" else _number(row["kendall_tau"], ".3f"),
    }
    if "error_low" in row:
        finite = not row["nonfinite"]
        low, high = 100 * row["error_low"], 100 * row["error_high"]
        cells |= {
            "correct": str(row["correct"]),
            "error %": f"{100 * row['error']:.2f}" if finite else "not finite",
            _INTERVAL: f"{low:.2f} to {high:.2f}" if finite else "",
        }
    return cells


def _number(value: float, form: str = ".4f") -> str:
    """A measure with four digits behind the point, or four in all where it is large."""
    if math.isnan(value):
        return ""
    if isinstance(value, int):
        return str(value)
    return f"{value:{form if abs(value) < 1e4 else '.4g'}}"


def _told(measure: str, value: float) -> str:
    """A measure in a line: its name, and per cent for an error."""
    return f"error {100 * value:.2f} %" if measure == "error" else f"{measure} {_number(value)}"


def _worst(values: pd.Series[float], measure: str) -> Any:
    """The row of the worst value: the least one, where more is better."""
    from ensembles.tables.metric_columns import column_of  # noqa: PLC0415 (pandas)

    column = column_of(measure)
    return values.idxmin() if column and column.better == "more" else values.idxmax()
