"""`ensembles capacity`: what networks hold of true and random labels, and how much there is."""

from __future__ import annotations

from pathlib import Path

import click

from ensembles.cli.trainings import amount, training_options, whole_numbers, write_and_tell

__all__ = ["capacity"]


@click.command("capacity")
@click.option(
    "--sizes", default="300,600,1.2k,2.5k,5k,10k", show_default=True, metavar="LIST",
    help="Parameters of the networks, each met to within 10 %.",
)  # fmt: skip
@click.option(
    "--family", default="perceptron", show_default=True, metavar="NAME",
    help="perceptron, preresnet, plain, wide or vgg.",
)  # fmt: skip
@click.option(
    "--depth", type=int, default=2, show_default=True, metavar="N",
    help="Weight layers on the longest path.",
)  # fmt: skip
@click.option(
    "--shares", default="1,2,4", show_default=True, metavar="LIST",
    help="Random labels for all training images (1), for half of them (2), for a quarter (4).",
)  # fmt: skip
@click.option(
    "--accuracy", type=click.FloatRange(0, 1), default=0.95, show_default=True, metavar="SHARE",
    help="The smallest network that reaches this accuracy on test images is looked for.",
)  # fmt: skip
@click.option(
    "--recipe", default="memory", show_default=True, metavar="NAME|FILE",
    help="As for `ensembles train`.",
)  # fmt: skip
@click.option(
    "--epochs", type=click.IntRange(min=1), default=100, show_default=True, metavar="N",
    help="Passes over all training images.",
)  # fmt: skip
@training_options(trainings="each network on each kind of labels", tables="the tables")
@click.pass_context
def capacity(
    context: click.Context,
    *,
    sizes: str,
    family: str,
    depth: int,
    dataset: str,
    seeds: int,
    shares: str,
    accuracy: float,
    recipe: str,
    epochs: int,
    limit: int | None,
    device: str,
    out: str,
) -> None:
    """Train networks of growing size on true and on random labels: how large must one be?

    Measured are the size of the smallest network that reaches an accuracy, and how many random
    labels each memorises, in bits a parameter; beside them stand several estimates of the entropy
    of images and labels. Interrupted, the same command goes on.
    """
    from ensembles.reproduction.capacity import run_capacity  # noqa: PLC0415 (imports torch)
    from ensembles.reproduction.capacity_plan import CapacityPlan  # noqa: PLC0415
    from ensembles.reproduction.request import Request  # noqa: PLC0415

    plan = CapacityPlan(
        sizes=tuple(amount("sizes", one) for one in sizes.split(",")),
        family=family,
        depth=depth,
        seeds=seeds,
        shares=whole_numbers("shares", shares),
        accuracy=accuracy,
        recipe=recipe,
        epochs=epochs,
        limit=limit,
    )
    request = Request(dataset=dataset, device=device)
    write_and_tell(context, out, lambda tell: run_capacity(plan, request, Path(out), tell))
