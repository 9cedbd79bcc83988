"""`ensembles store`: what is asked of a store of results itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import click

from ensembles.cli.output import say

__all__ = ["store"]

_COUNTED = (
    ("contexts", "network on data", "networks on data"),
    ("lesions", "lesion", "lesions"),
    ("states", "measured number of them", "measured numbers of them"),
    ("predictions", "row of predictions", "rows of predictions"),
    ("analyses", "other analysis", "other analyses"),
    ("notes", "note", "notes"),
)


@click.group("store")
def store() -> None:
    """Look after stores of results (.db)."""


@store.command("check")
@click.argument("files", nargs=-1, required=True, type=click.Path(dir_okay=False), metavar="DB...")
def check(files: Sequence[str]) -> None:
    """Examine stores from end to end; exit with 1 where one is damaged.

    Looked at are SQLite's own structure, the tables, the checksum of every row, and whether what
    the rows say can be: as many right answers as observations at most, sums of classes that are
    those of all, lesions of blocks that the network has.
    """
    from ensembles.store import Store  # noqa: PLC0415

    for file in files:
        with Store(file, mode="r") as opened:
            say(f"{file}: sound; {_told(opened.check())}")


def _told(counted: Mapping[str, int]) -> str:
    return ", ".join(
        f"{counted[table]} {one if counted[table] == 1 else several}"
        for table, one, several in _COUNTED
        if counted[table]
    ) or "nothing in it yet"  # fmt: skip
