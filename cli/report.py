"""`ensembles report`: any results as one HTML page."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ensembles.cli.output import say
from ensembles.cli.results import refuse_twins

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["report"]


@click.command("report")
@click.argument("results", nargs=-1, required=True, metavar="STORE|FRAME...")
@click.option(
    "--out", default="report.html", show_default=True, type=click.Path(dir_okay=False),
    metavar="FILE.html", help="The page.",
)  # fmt: skip
@click.option("--title", default="Results", show_default=True, help="Heading of the page.")
def report(*, results: Sequence[str], out: str, title: str) -> None:
    """Write results as one HTML page that needs no network and no other file.

    A result is a store (.db), a table that --out of another command wrote (.csv, .parquet, .json),
    or a folder of such tables. The page has their figures, their numbers in tables that sort, where
    they come from, and the commands that make them again.
    """
    from ensembles.report import Page, section_of, write_page  # noqa: PLC0415
    from ensembles.report.pages import ENDINGS  # noqa: PLC0415
    from ensembles.writable import check_writable  # noqa: PLC0415

    refuse_twins({"--out": out}, results)
    check_writable(out, ENDINGS)
    frames = [found for text in results for found in _frames(Path(text))]
    names = _distinct([name for name, _ in frames])
    sections = tuple(
        section_of(frame, name) for name, (_, frame) in zip(names, frames, strict=True)
    )
    write_page(Page(title, (), sections), out)
    say(f"wrote {out}", err=True)


def _frames(path: Path) -> list[tuple[str, pd.DataFrame]]:
    """The tables of a store, a file or a folder, with their names."""
    from ensembles.report.stores import is_store, store_frames  # noqa: PLC0415
    from ensembles.tables import read_frame  # noqa: PLC0415
    from ensembles.tables.formats import TABLES  # noqa: PLC0415

    if is_store(path):
        return store_frames(path)
    if not path.is_dir():
        return [(path.name, read_frame(path))]
    files = sorted(
        file
        for file in path.iterdir()
        if file.suffix in TABLES and not file.name.endswith(".attrs.json")
    )
    if not files:
        raise click.UsageError(f"folder {path}: holds no tables of results ({', '.join(TABLES)})")
    return [(file.name, read_frame(file)) for file in files]


def _distinct(names: Sequence[str]) -> list[str]:
    """The names, with a number after those that were there before."""
    return [
        f"{name} ({names[: place + 1].count(name)})" if names.count(name) > 1 else name
        for place, name in enumerate(names)
    ]
