"""`ensembles reproduce`: the paper's findings again, beside what was published."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import click

from ensembles.cli.options import device_option
from ensembles.cli.output import say

__all__ = ["reproduce"]


@click.command("reproduce")
@click.option(
    "--paper", type=click.Choice(["veit2016", "gavrikov2024"]), default="veit2016",
    show_default=True, help="Whose experiments: residual networks as ensembles; layer criticality.",
)  # fmt: skip
@click.option(
    "--figure", metavar="LIST",
    help="Such as 3,5a,5b,6; also 4, 7, effective-paths, stochastic-depth, depth, duplicate, "
    "replay, criticality, criticality-trainings, and identity-mappings, family and capacity, which "
    "train networks. [default: those of the paper, but the last three]",
)  # fmt: skip
@click.option("--all", "everything", is_flag=True, help="All of the paper.")
@click.option(
    "--dataset", default="digits", show_default=True, metavar="NAME|FOLDER",
    help="Images to measure on; networks whose cards say that they were trained on them are used.",
)  # fmt: skip
@click.option("--split", default="test", show_default=True, help="The part of the data.")
@click.option(
    "--model", default="preresnet110", show_default=True, metavar="NAME",
    help="The residual network.",
)  # fmt: skip
@click.option("--checkpoint", metavar="NAME|FILE", help="Its weights. [default: by their cards]")
@click.option(
    "--plain", default="vgg15", show_default=True, metavar="NAME",
    help="The network without shortcuts.",
)  # fmt: skip
@click.option("--quick", is_flag=True, help="Few images and draws: minutes on two cores.")
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="At most N images.")
@click.option(
    "--published-lesions", type=click.Path(dir_okay=False), metavar="FILE",
    help="The authors' own lesions, with the columns lesion, blocks and top1_error, to replay.",
)  # fmt: skip
@click.option(
    "--published-layers", type=click.Path(dir_okay=False), metavar="FILE",
    help="The results of Gavrikov et al. on single layers, for a line for each of their networks. "
    "[default: reference/ in the folder ENSEMBLES_ASSETS, if they are there]",
)  # fmt: skip
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of the random draws.")
@device_option()
@click.option(
    "--precision", type=click.Choice(["fp32", "tf32", "bf16"]), default="fp32",
    show_default=True, help="Precision of the lesions.",
)  # fmt: skip
@click.option(
    "--out", required=True, type=click.Path(file_okay=False), metavar="FOLDER",
    help="For report.html, figures, tables, and the store that a run goes on from.",
)  # fmt: skip
@click.pass_context
def reproduce(
    context: click.Context,
    *,
    paper: str,
    figure: str | None,
    everything: bool,
    dataset: str,
    split: str,
    model: str,
    checkpoint: str | None,
    plain: str,
    quick: bool,
    limit: int | None,
    published_lesions: str | None,
    published_layers: str | None,
    seed: int,
    device: str,
    precision: str,
    out: str,
) -> None:
    """Run the experiments of a paper, and hold what comes out against what it reports.

    Writes report.html: figures with our results over the published ones, and a row for each claim
    that says whether it holds here, by a stated criterion. Interrupted, the same command goes on.
    """
    from ensembles.reproduction.experiments import choose  # noqa: PLC0415 (imports torch)
    from ensembles.reproduction.experiments.replay import read_published  # noqa: PLC0415
    from ensembles.reproduction.published_layers import (  # noqa: PLC0415
        found_layers,
        read_layers,
    )
    from ensembles.reproduction.report_pages import reproduce as run  # noqa: PLC0415
    from ensembles.reproduction.request import Request  # noqa: PLC0415
    from ensembles.reproduction.scale import FULL, QUICK  # noqa: PLC0415

    if figure and everything:
        raise click.UsageError("--figure and --all exclude each other")
    experiments = choose(figure or "all", paper)
    if published_lesions is not None:
        read_published(published_lesions)
    layers = Path(published_layers) if published_layers else found_layers()
    layers = layers if any(one.paper == "gavrikov2024" for one in experiments) else None
    if layers is not None:
        read_layers(layers)
    scale = QUICK if quick else FULL
    request = Request(
        dataset=dataset,
        split=split,
        model=model,
        checkpoint=checkpoint,
        plain=plain,
        scale=replace(scale, images=limit) if limit else scale,
        seed=seed,
        device=device,
        precision=precision,
        published_lesions=None if published_lesions is None else Path(published_lesions),
        published_layers=layers,
    )
    try:
        claims = run(request, experiments, out, lambda line: say(line, err=True))
    except KeyboardInterrupt:
        say(f"interrupted; the same command goes on from {out}", err=True)
        context.exit(130)
    for row in claims.to_dict("records"):
        ours = f" {row['ours']}" if row["ours"] else f" {row['note']}"
        say(f"{row['experiment']:16} {row['verdict']:13} {row['claim']}:{ours}")
    say(f"wrote {Path(out) / 'report.html'}", err=True)
