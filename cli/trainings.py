"""What the commands that train many networks share: options, numbers, and how they end."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from ensembles.cli.options import device_option, together
from ensembles.cli.output import say

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["amount", "training_options", "whole_numbers", "write_and_tell"]

_AMOUNT = re.compile(r"(\d+(?:\.\d+)?)([kM]?)")
_UNITS = {"": 1, "k": 1_000, "M": 1_000_000}
Command = TypeVar("Command", bound=Callable[..., Any])


def training_options(*, trainings: str, tables: str) -> Callable[[Command], Command]:
    """On what networks are trained, how often, where, and where everything goes.

    Args:
        trainings: What a seed is one of, for the help.
        tables: What the folder gets beside networks, figure and report, for the help.
    """
    return together(
        click.option(
            "--dataset", default="digits", show_default=True, metavar="NAME|FOLDER",
            help="Images, with the splits train and test.",
        ),
        click.option(
            "--seeds", type=click.IntRange(1, 1000), default=3, show_default=True, metavar="N",
            help=f"Trainings of {trainings}.",
        ),
        click.option(
            "--limit", type=click.IntRange(min=2), metavar="N", help="At most N training images."
        ),
        device_option(),
        click.option(
            "--out", required=True, type=click.Path(file_okay=False), metavar="FOLDER",
            help=f"For the trained networks, {tables}, the figure and report.html.",
        ),
    )  # fmt: skip


def write_and_tell(
    context: click.Context,
    out: str,
    run: Callable[[Callable[[str], None]], pd.DataFrame],
) -> None:
    """Run what trains and judges networks, and tell its claims.

    Args:
        context: Of the command.
        out: Folder of the results.
        run: Takes what tells of progress; gives the claims.
    """
    try:
        claims = run(lambda line: say(line, err=True))
    except KeyboardInterrupt:
        say(f"interrupted; the same command goes on from {out}", err=True)
        context.exit(130)
    for row in claims.to_dict("records"):
        said = row["ours"] or row["note"]
        say(f"{row['verdict']:13} {row['claim']}: {said}")
    say(f"wrote {Path(out) / 'report.html'}", err=True)


def amount(option: str, text: str) -> int:
    """A number such as 250k or 1.7M.

    Raises:
        UsageError: It is none.
    """
    found = _AMOUNT.fullmatch(text.strip())
    if found is None:
        raise click.UsageError(f"--{option} {text}: expected a number, such as 250k or 1.7M")
    return round(float(found[1]) * _UNITS[found[2]])


def whole_numbers(option: str, text: str) -> tuple[int, ...]:
    """Whole numbers with commas between.

    Raises:
        UsageError: One is none.
    """
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise click.UsageError(
            f"--{option} {text}: expected whole numbers, such as 8,14,20"
        ) from None
