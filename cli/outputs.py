"""Options that say where results go, and how their figure looks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import click

from ensembles.cli.options import Command, together

__all__ = ["Design", "design", "output_options", "raw_cells", "raw_cells_option"]

_RAW = "ensembles.raw_cells"
_DESIGN = "ensembles.design"


def output_options(plot: str) -> Callable[[Command], Command]:
    """Where the results go."""
    return together(
        click.option(
            "--out", type=click.Path(dir_okay=False), metavar="FILE",
            help="Write the whole table as .csv, .parquet or .json.",
        ),
        click.option(
            "--plot", is_flag=False, flag_value=plot, default=None, metavar="[FILE]",
            help=f"Draw the figure, as .png, .pdf or .svg. [without FILE: {plot}]",
        ),
        click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table."),
        click.option(
            "--width", type=float, metavar="INCHES", expose_value=False, callback=_design,
            help="Width of the figure. [default: 3.25, a paper's column]",
        ),
        click.option(
            "--title", metavar="TEXT", expose_value=False, callback=_design,
            help="Title above the figure. [default: none]",
        ),
        click.option(
            "--label", "names", metavar="TEXT", multiple=True, expose_value=False,
            callback=_design,
            help="What table and figure call the network; repeat it for several. "
            "[default: its model, or its checkpoint]",
        ),
        raw_cells_option(),
    )  # fmt: skip


@dataclass(frozen=True)
class Design:
    """What the command line asks of a figure.

    Attributes:
        width: In inches; None for the usual one.
        title: Above it.
        names: What the networks are called.
    """

    width: float | None = None
    title: str | None = None
    names: tuple[str, ...] = ()


def _design(context: click.Context, parameter: click.Parameter, value: Any) -> None:
    if value is not None and parameter.name is not None:
        context.meta[_DESIGN] = replace(design(), **{parameter.name: value})


def design() -> Design:
    """What the command was asked for by `--width`, `--title` and `--label`."""
    context = click.get_current_context(silent=True)
    found: Design = Design() if context is None else context.meta.get(_DESIGN, Design())
    return found


def raw_cells_option() -> Callable[[Command], Command]:
    """How texts stand in a CSV file that a spreadsheet would take for formulas."""
    return click.option(
        "--raw-cells", is_flag=True, expose_value=False, callback=_keep_raw,
        help="Write CSV texts that begin with =, +, - or @ as they are, without an apostrophe.",
    )  # fmt: skip


def _keep_raw(context: click.Context, _parameter: click.Parameter, value: bool) -> None:
    context.meta[_RAW] = value


def raw_cells() -> bool:
    """Whether the command was given ``--raw-cells``."""
    context = click.get_current_context(silent=True)
    return context is not None and bool(context.meta.get(_RAW, False))
