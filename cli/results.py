"""Where results go: files first, then what a person reads."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import nullcontext
from numbers import Integral, Number, Real
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ensembles.cli.output import say
from ensembles.cli.outputs import design, raw_cells
from ensembles.cli.tables import aligned

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

__all__ = ["check_outputs", "deliver", "named", "plain_table", "refuse_twins", "write_figure"]


def check_outputs(
    out: str | None, plot: str | None, store: str | None = None, read: Iterable[str | None] = ()
) -> None:
    """Refuse files that cannot be written, or must not be, before anything is measured.

    Args:
        out: File for the table.
        plot: File for the figure.
        store: Store of the results.
        read: Files, or names, that the command reads.

    Raises:
        EnsemblesError: Saying which, and why.
    """
    refuse_twins({"--out": out, "--plot": plot, "--store": store}, read)
    from ensembles.writable import check_writable  # noqa: PLC0415

    if out is not None:
        check_writable(out)
    if plot is not None:
        from ensembles.plots import FIGURES  # noqa: PLC0415 (matplotlib)

        check_writable(plot, FIGURES)
    if store is not None:
        from ensembles.store import Store  # noqa: PLC0415

        Store(store).close()


def refuse_twins(written: Mapping[str, str | None], read: Iterable[str | None] = ()) -> None:
    """Refuse to write two things into one file, or into one that is read.

    Args:
        written: Files by the options that name them.
        read: Files, or names that may be some.

    Raises:
        UsageError: Naming both.
    """
    from ensembles.errors import UsageError  # noqa: PLC0415

    seen: dict[Path, str] = {}
    for text in read:
        if text is not None and _is_file(_resolved(text)):
            seen[_resolved(text)] = f"what is read from {text}"
    for option, text in written.items():
        if text is None:
            continue
        place = _resolved(text)
        other = seen.setdefault(place, option)
        if other != option:
            raise UsageError(
                f"{option} {text}: is the file of {other}, and would take its place; name another "
                "file"
            )


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # in a folder that must not be looked into
        return False


def _resolved(text: str) -> Path:
    try:
        return Path(text).resolve()
    except (OSError, ValueError, RuntimeError):  # a name that there cannot be
        return Path(text)


def deliver(
    frames: Sequence[pd.DataFrame],
    out: str | None,
    plot: str | None,
    as_json: bool,
    *,
    draw: Callable[[Sequence[pd.DataFrame]], Figure] | None = None,
    lines: Callable[[Sequence[pd.DataFrame]], Iterable[str]],
    notes: Iterable[str] = (),
) -> None:
    """Write files first: a reader of the output that leaves early must not cost a figure.

    Args:
        frames: A table for each network.
        out: File for the table.
        plot: File for the figure.
        as_json: Whether JSON is printed instead of lines.
        draw: Draws the tables; None where there is no figure of them.
        lines: What a person reads of them, on standard output.
        notes: What is said of them, on standard error.
    """
    from ensembles.tables import frame_to_json, stack_frames, write_frame  # noqa: PLC0415

    table = stack_frames(frames)
    if out is not None:
        write_frame(table, out, raw=raw_cells())
        say(f"wrote {out}", err=True)
    try:
        if plot is not None and draw is not None:
            write_figure(draw, frames, plot)
    finally:  # nor must a figure that cannot be drawn cost the table
        if as_json:
            say(frame_to_json(table))
        elif out is None:
            for line in lines(frames):
                say(line)
        for line in notes:
            say(line, err=True)


def named(frames: Sequence[pd.DataFrame]) -> list[pd.DataFrame]:
    """The tables, under the names that `--label` gives to their networks, if any.

    Raises:
        UsageError: There are more or fewer labels than networks.
    """
    labels = design().names
    if labels and len(labels) != len(frames):
        raise click.UsageError(
            f"{len(labels)} labels for {len(frames)} networks; give --label once for each"
        )
    for frame, label in zip(frames, labels, strict=False):
        frame.attrs["model"] = label
    return list(frames)


def write_figure(
    draw: Callable[[Sequence[pd.DataFrame]], Figure], frames: Sequence[pd.DataFrame], plot: str
) -> None:
    """Draw tables as wide as `--width` says, under the title of `--title`, and say where it is."""
    from ensembles.plots import figure_width, save_figure  # noqa: PLC0415 (matplotlib)
    from ensembles.plots.layout import put_title  # noqa: PLC0415

    wanted = design()
    with figure_width(wanted.width) if wanted.width is not None else nullcontext():
        figure = draw(frames)
        if wanted.title is not None:
            put_title(figure, wanted.title)
    there = Path(plot).exists()
    save_figure(figure, plot)
    say(f"wrote {plot}{', in place of the one that was there' if there else ''}", err=True)


def plain_table(frame: pd.DataFrame, shown: Sequence[str] = (), *, room: int | None = None) -> str:
    """A table for a terminal, without columns that hold nothing.

    Args:
        frame: The table.
        shown: The columns, as far as it has them; empty for all.
        room: Letters of a line, as :func:`ensembles.cli.tables.aligned` takes it: long texts lose
            their middle, numbers stay whole.
    """
    names = [name for name in shown or frame.columns if name in frame.columns]
    kept = [str(name) for name in names if not _is_empty(frame[name])]
    if not kept:
        return "no rows"
    numbers = [name for name in kept if _is_numeric(frame[name])]
    rows = list(zip(*(_cells(frame[name]) for name in kept), strict=True))
    return "\n".join(aligned(kept, rows, numbers, room=room))


def _cells(column: pd.Series[Any]) -> list[str]:
    """The values of a column; nothing where one is missing."""
    known = zip(column, column.notna(), strict=True)
    return [_cell(value) if is_known else "" for value, is_known in known]


def _cell(value: object) -> str:
    """A value, with four digits where it is no integer."""
    if isinstance(value, Integral) or not isinstance(value, Real):
        return str(value)
    return f"{float(value):.4g}"


def _is_numeric(column: pd.Series[Any]) -> bool:
    """Whether a column holds numbers, exact ones of any size among them."""
    return all(isinstance(value, Number) for value in column.dropna())


def _is_empty(column: pd.Series[Any]) -> bool:
    return bool((column.dropna().astype(str) == "").all())
