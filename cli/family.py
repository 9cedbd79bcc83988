"""`ensembles family`: networks of equal size, from wide and shallow to thin and deep."""

from __future__ import annotations

from pathlib import Path

import click

from ensembles.cli.trainings import amount, training_options, whole_numbers, write_and_tell

__all__ = ["family"]


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
    "--recipe", metavar="NAME|FILE",
    help="As for `ensembles train`, the same for all. [default: digits on the digits, else short]",
)  # fmt: skip
@click.option(
    "--epochs", type=click.IntRange(min=1), metavar="N",
    help="Passes over the training images. [default: the recipe's]",
)  # fmt: skip
@click.option(
    "--tolerance", type=click.FloatRange(0, 1), default=0.02, show_default=True, metavar="SHARE",
    help="How far the number of parameters may lie from the one asked for.",
)  # fmt: skip
@click.option("--trained", is_flag=True, help="Train nothing: measure what is trained already.")
@click.option(
    "--quick", is_flag=True,
    help="Measure on few images and draws; trainings are not shortened.",
)  # fmt: skip
@training_options(trainings="each network", tables="the results")
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

    Does it pay to be deeper rather than wider? Error, robustness to deletions and effective depth
    by depth, with intervals over seeds, and for each claim whether it holds here. Interrupted, the
    same command goes on from the last whole epoch.
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
