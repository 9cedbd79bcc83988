"""Where results go: files first, then what a person reads."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from ensembles.cli.output import say

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

__all__ = ["check_outputs", "deliver", "plain_table"]


def check_outputs(out: str | None, plot: str | None, store: str | None = None) -> None:
    """Refuse files that cannot be written before anything is measured.

    Raises:
        EnsemblesError: Saying which, and why.
    """
    from ensembles.plots import FIGURES  # noqa: PLC0415
    from ensembles.store import Store  # noqa: PLC0415
    from ensembles.tables import check_writable  # noqa: PLC0415

    if out is not None:
        check_writable(out)
    if plot is not None:
        check_writable(plot, FIGURES)
    if store is not None:
        Store(store).close()


def deliver(
    frames: Sequence[pd.DataFrame],
    out: str | None,
    plot: str | None,
    as_json: bool,
    *,
    draw: Callable[[Sequence[pd.DataFrame]], Figure],
    lines: Callable[[Sequence[pd.DataFrame]], Iterable[str]],
    notes: Iterable[str] = (),
) -> None:
    """Write files first: a reader of the output that leaves early must not cost a figure.

    Args:
        frames: A table for each network.
        out: File for the table.
        plot: File for the figure.
        as_json: Whether JSON is printed instead of lines.
        draw: Draws the tables.
        lines: What a person reads of them, on standard output.
        notes: What is said of them, on standard error.
    """
    from ensembles.plots import save_figure  # noqa: PLC0415
    from ensembles.tables import frame_to_json, stack_frames, write_frame  # noqa: PLC0415

    table = stack_frames(frames)
    if out is not None:
        write_frame(table, out)
        say(f"wrote {out}", err=True)
    if plot is not None:
        save_figure(draw(frames), plot)
        say(f"wrote {plot}", err=True)
    for line in notes:
        say(line, err=True)
    if as_json:
        say(frame_to_json(table))
    elif out is None:
        for line in lines(frames):
            say(line)


def plain_table(frame: pd.DataFrame, shown: Sequence[str] = ()) -> str:
    """A table for a terminal, without columns that hold nothing.

    Args:
        frame: The table.
        shown: The columns, as far as it has them; empty for all.
    """
    names = [name for name in shown or frame.columns if name in frame.columns]
    kept = [name for name in names if not _is_empty(frame[name])]
    return frame[kept].to_string(index=False, float_format=lambda x: f"{x:.4g}")


def _is_empty(column: pd.Series[Any]) -> bool:
    return bool(column.isna().all() or (column.astype(str) == "").all())
