"""Results as a person reads them at a terminal."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["aligned", "lesion_summary", "lesion_table"]

_NUMBERS = ("correct", "total", "error %", "loss", "tau")


def aligned(
    head: Sequence[str], rows: Sequence[Sequence[str]], right: Collection[str] = ()
) -> list[str]:
    """Lay out cells in columns; those named in `right` are flush right."""
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    return [
        "  ".join(
            cell.rjust(width) if name in right else cell.ljust(width)
            for cell, width, name in zip(row, widths, head, strict=True)
        ).rstrip()
        for row in (head, *rows)
    ]


def lesion_table(frames: Sequence[pd.DataFrame]) -> list[str]:
    """One line for each lesion: the error in %, with its 95 % Wilson interval."""
    from ensembles.statistics import error_intervals  # noqa: PLC0415

    head = ["lesion", "blocks", "name", "correct", "total", "error %", "95 % interval", "loss"]
    if len(frames) > 1:
        head.insert(0, "model")
    if any((frame["lesion"] == "reorder").any() for frame in frames):
        head.append("tau")
    rows = []
    for frame in frames:
        model = str(frame.attrs.get("model", ""))
        for row in error_intervals(frame).to_dict("records"):
            cells = _cells(row) | {"model": model}
            rows.append([cells[name] for name in head])
    return aligned(head, rows, _NUMBERS)


def _cells(row: dict[Any, Any]) -> dict[str, str]:
    low, high = 100 * row["error_low"], 100 * row["error_high"]
    finite = not row["nonfinite"]
    return {
        "lesion": str(row["lesion"]),
        "blocks": str(row["blocks"]),
        "name": str(row["block_names"]) + (" (adapted)" if row["adapted"] else ""),
        "correct": str(row["correct"]),
        "total": str(row["total"]),
        "error %": f"{100 * row['error']:.2f}" if finite else "not finite",
        "95 % interval": f"{low:.2f} to {high:.2f}" if finite else "",
        "loss": f"{row['loss']:.4f}" if finite else "",
        "tau": f"{row['kendall_tau']:.3f}" if row["lesion"] == "reorder" else "",
    }


def lesion_summary(frame: pd.DataFrame) -> str:
    """What a sweep showed, in a line."""
    rows = frame.to_dict("records")
    whole = next(row["error"] for row in rows if row["lesion"] == "none")
    cut = [row for row in rows if row["lesion"] != "none"]
    start = f"{frame.attrs.get('model', 'the network')}: intact error {100 * whole:.2f} %"
    lesions = f"{len(cut)} lesion{'s' if len(cut) != 1 else ''}"
    measured = [row for row in cut if not row["nonfinite"]]
    if not measured:
        return f"{start}; {lesions}, none of them measured"
    worst = max(measured, key=lambda row: row["error"])
    median = frame.loc[frame["lesion"] != "none", "error"].median()
    return (
        f"{start}; {lesions}, median error {100 * median:.2f} %, "
        f"worst {100 * worst['error']:.2f} % ({worst['lesion']} {worst['blocks']})"
    )
