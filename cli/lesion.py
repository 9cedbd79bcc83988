"""`ensembles lesion`: what is left of a network when its blocks are deleted or moved."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from ensembles.cli.options import (
    data_options,
    model_options,
    open_average,
    open_subject,
    output_options,
    run_options,
    store_option,
)
from ensembles.cli.tables import lesion_summary, lesion_table

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["lesion"]


@click.command("lesion")
@model_options(several=True)
@click.option(
    "--average", is_flag=True,
    help="Take the average of all these networks for one, whose blocks are its members.",
)  # fmt: skip
@data_options()
@click.option(
    "--kind", default="delete", show_default=True, metavar="KIND",
    help="What is done to the blocks; drop leaves out one of the roads that meet in a block.",
)  # fmt: skip
@click.option(
    "--count", metavar="K|A-B",
    help="How many blocks at once (for reorder exchanges, for drop roads). Deleting or duplicating "
    "1 goes through every block, dropping 1 through every road; more are drawn at random. "
    "[default: 1]",
)  # fmt: skip
@click.option(
    "--trials", type=click.IntRange(min=1), metavar="N",
    help="Random draws for each count. [default: 10]",
)  # fmt: skip
@click.option("--seed", type=int, default=0, show_default=True, help="Of the random draws.")
@click.option(
    "--blocks", metavar="LIST",
    help="Only these, such as 3,17 or 20-25; for drop also roads, as 3.2. [default: all]",
)  # fmt: skip
@click.option("--skip-transitions", is_flag=True, help="Leave blocks that change the shape alone.")
@click.option(
    "--plan", type=click.Path(dir_okay=False), metavar="FILE.csv",
    help="Lesions from a table with the columns lesion and blocks, instead of --kind and --count.",
)  # fmt: skip
@run_options()
@click.option(
    "--engine", type=click.Choice(["shared", "direct"]), default="shared", show_default=True,
    help="direct runs each lesion whole: slow, for checking.",
)  # fmt: skip
@store_option()
@click.option("--predictions", is_flag=True, help="Keep the predicted classes in the store too.")
@output_options("lesion.png")
def lesion(
    *,
    models: Sequence[str],
    checkpoints: Sequence[str],
    average: bool,
    block_names: str | None,
    block_kinds: str | None,
    dataset: str | None,
    split: str,
    limit: int | None,
    normalize: str | None,
    image_size: int | None,
    kind: str,
    count: str | None,
    trials: int | None,
    seed: int,
    blocks: str | None,
    skip_transitions: bool,
    plan: str | None,
    batch_size: int | None,
    device: str,
    precision: str,
    engine: str,
    store: str | None,
    predictions: bool,
    out: str | None,
    plot: str | None,
    as_json: bool,
) -> None:
    """Delete, reorder or duplicate blocks of a trained network, and measure its error.

    Alone, it deletes each of the 54 blocks of a ResNet-110 trained on handwritten digits. Every
    image is counted once, with running BatchNorm statistics; the first row is the intact network.
    """
    from ensembles.analyses.lesion import lesion as run  # noqa: PLC0415
    from ensembles.lesions import Choice, read_plan  # noqa: PLC0415
    from ensembles.plots import FIGURES  # noqa: PLC0415
    from ensembles.store import Store  # noqa: PLC0415
    from ensembles.tables import check_writable  # noqa: PLC0415
    from ensembles.text import read_blocks, read_counts, read_roads  # noqa: PLC0415

    if predictions and store is None:
        raise click.UsageError("--predictions are kept in a store; name one with --store")
    if out is not None:
        check_writable(out)
    if plot is not None:
        check_writable(plot, FIGURES)
    if store is not None:
        Store(store).close()
    single = "." in (blocks or "")
    choice = Choice(
        kind,
        None if count is None else read_counts(count),
        trials,
        seed,
        blocks=None if blocks is None or single else read_blocks(blocks),
        roads=read_roads(blocks) if blocks is not None and single else None,
        skip_transitions=skip_transitions,
        plan=None if plan is None else tuple(read_plan(plan)),
    )
    options: dict[str, Any] = {
        "dataset": dataset,
        "split": split,
        "limit": limit,
        "normalize": normalize,
        "image_size": image_size,
        "device": device,
        "block_names": block_names,
        "block_kinds": block_kinds,
    }
    pairs = _pairs(models, checkpoints)
    if average:
        subjects = [open_average(pairs, **options)]
    else:
        subjects = [open_subject(model, file, **options) for model, file in pairs]
    names = [subject.name for subject in subjects]
    frames = [
        run(
            subject.net,
            subject.data,
            subject.lesions(choice),
            batch_size=batch_size,
            device=device,
            precision=precision,
            engine=engine,
            model=subject.card.name if len(set(names)) < len(names) else subject.name,
            store=store,
            predictions=predictions,
            about=subject.about,
        )
        for subject in subjects
    ]
    _deliver(frames, out, plot, as_json)
    _tell_failures(frames)


def _pairs(models: Sequence[str], checkpoints: Sequence[str]) -> list[tuple[str, str | None]]:
    if not checkpoints:
        return [(model, None) for model in models]
    if len(models) == 1:
        return [(models[0], checkpoint) for checkpoint in checkpoints]
    if len(models) != len(checkpoints):
        raise click.UsageError(
            f"{len(models)} models and {len(checkpoints)} checkpoints; "
            "give one checkpoint for each model, or none"
        )
    return list(zip(models, checkpoints, strict=True))


def _tell_failures(frames: list[pd.DataFrame]) -> None:
    from ensembles.errors import EvaluationError  # noqa: PLC0415

    failed = [one for frame in frames for one in frame.attrs.get("failed", [])]
    if failed:
        first = failed[0]
        raise EvaluationError(
            f"{len(failed)} lesions could not be measured, the first of them {first['lesion']} "
            f"{first['blocks']} ({first['reason']}); the others are complete"
        )


def _deliver(frames: list[pd.DataFrame], out: str | None, plot: str | None, as_json: bool) -> None:
    """Write files first: a reader of the output that leaves early must not cost a figure."""
    from ensembles.plots import plot_lesions  # noqa: PLC0415
    from ensembles.tables import frame_to_json, stack_frames, write_frame  # noqa: PLC0415

    table = stack_frames(frames)
    if out is not None:
        write_frame(table, out)
        click.echo(f"wrote {out}", err=True)
    if plot is not None:
        plot_lesions(frames, plot)
        click.echo(f"wrote {plot}", err=True)
    for frame in frames:
        click.echo(lesion_summary(frame), err=True)
    if as_json:
        click.echo(frame_to_json(table))
    elif out is None:
        for line in lesion_table(frames):
            click.echo(line)
