"""`ensembles family`: networks of equal size, from wide and shallow to thin and deep."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ensembles.cli.output import say

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["amount", "family", "whole_numbers", "write_and_tell"]

_AMOUNT = re.compile(r"(\d+(?:\.\d+)?)([kM]?)")
_UNITS = {"": 1, "k": 1_000, "M": 1_000_000}


@click.command("family")
@click.option(
    "--parameters", default="250k", show_default=True, metavar="N",
    help="Parameters of each network, such as 250k or 1.7M.",
)  # fmt: skip
@click.option(
    "--depths", default="8,14,20,32,56,110", show_default=True, metavar="LIST",
    help="Weight layers on the longest path; each family takes those that it has.",
)  # fmt: skip
@click.option(
    "--families", default="preresnet,plain", show_default=True, metavar="LIST",
    help="Some of preresnet, plain (without shortcuts), wide, vgg and perceptron.",
)  # fmt: skip
@click.option(
    "--dataset", default="digits", show_default=True, metavar="NAME|FOLDER",
    help="Images, with the splits train and test.",
)  # fmt: skip
@click.option(
    "--seeds", type=click.IntRange(1, 1000), default=3, show_default=True, metavar="N",
    help="Trainings of each network.",
)  # fmt: skip
@click.option(
    "--recipe", metavar="NAME|FILE",
    help="As for `ensembles train`, the same for all. [default: digits on the digits, else short]",
)  # fmt: skip
@click.option("--epochs", type=click.IntRange(min=1), metavar="N", help="[default: the recipe's]")
@click.option("--limit", type=click.IntRange(min=2), metavar="N", help="At most N training images.")
@click.option(
    "--tolerance", type=click.FloatRange(0, 1), default=0.02, show_default=True, metavar="SHARE",
    help="How far the number of parameters may lie from the one asked for.",
)  # fmt: skip
@click.option("--trained", is_flag=True, help="Train nothing: measure what is trained already.")
@click.option("--quick", is_flag=True, help="Few images and draws; the trainings stay as they are.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda[:i] or mps.")
@click.option(
    "--out", required=True, type=click.Path(file_okay=False), metavar="FOLDER",
    help="For the trained networks, the results, the figure and report.html.",
)  # fmt: skip
@click.pass_context
def family(
    context: click.Context,
    *,
    parameters: str,
    depths: str,
    families: str,
    dataset: str,
    seeds: int,
    recipe: str | None,
    epochs: int | None,
    limit: int | None,
    tolerance: float,
    trained: bool,
    quick: bool,
    device: str,
    out: str,
) -> None:
    """Train networks of many depths with one number of parameters, and take them apart.

    Why deeper and not wider: error, robustness to deletions and effective depth, with intervals
    over seeds, and a row for each claim that says whether it holds here. Interrupted, the same
    command goes on from the last whole epoch.
    """
    from ensembles.reproduction.family import run_family  # noqa: PLC0415 (imports torch)
    from ensembles.reproduction.family_plan import FamilyPlan  # noqa: PLC0415
    from ensembles.reproduction.request import Request  # noqa: PLC0415
    from ensembles.reproduction.scale import FULL, QUICK  # noqa: PLC0415

    plan = FamilyPlan(
        parameters=amount("parameters", parameters),
        depths=whole_numbers("depths", depths),
        families=tuple(one.strip() for one in families.split(",")),
        seeds=seeds,
        recipe=recipe,
        epochs=epochs,
        limit=limit,
        tolerance=tolerance,
        train=not trained,
    )
    request = Request(dataset=dataset, scale=QUICK if quick else FULL, device=device)
    write_and_tell(context, out, lambda tell: run_family(plan, request, Path(out), tell))


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
