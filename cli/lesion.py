"""`ensembles lesion`: what is left of a network when its blocks are changed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import click

from ensembles.cli.options import (
    average_option,
    data_options,
    image_lines,
    materials_options,
    metrics_option,
    model_options,
    open_average,
    open_subjects,
    pairs,
    run_options,
    store_option,
    task_option,
)
from ensembles.cli.output import say
from ensembles.cli.outputs import output_options
from ensembles.cli.results import check_outputs, deliver, named
from ensembles.cli.settings import kind_options, settings_of
from ensembles.cli.tables import lesion_summary, lesion_table
from ensembles.engine.names import ENGINES
from ensembles.garbage import collection_paused

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from ensembles.checkpoints import Subject
    from ensembles.lesions import Choice
    from ensembles.plots.measures import Scale

__all__ = ["expert_lines", "lesion"]

_LONG = 45
"""Seconds from which on the duration of a sweep is told."""

Command = TypeVar("Command", bound=Callable[..., Any])


def _choice_options(command: Command) -> Command:
    """Which lesions: their kind, how many blocks at once, which blocks, or a plan."""
    options = [
        click.option(
            "--kind", default="delete", show_default=True, metavar="KIND",
            help="What is done to the blocks; `ensembles lesion --list` shows all kinds.",
        ),
        click.option(
            "--count", metavar="K|A-B",
            help="How many blocks at once (exchanges for reorder, branches for drop, the length of "
            "the span where a kind names one). 1 goes through every block; more are drawn at "
            "random. [default: 1, or the least that has a meaning]",
        ),
        click.option(
            "--trials", type=click.IntRange(min=1), metavar="N",
            help="Random draws for each count. [default: 10]",
        ),
        click.option(
            "--seed", type=int, default=0, show_default=True,
            help="Seed of the random draws, and of kinds that have one of their own.",
        ),
        click.option(
            "--blocks", metavar="LIST",
            help="Only these, such as 3,17 or 20-25; for drop also branches, as 3.2. "
            "[default: all]",
        ),
        click.option(
            "--skip-transitions", is_flag=True, help="Leave blocks that change the shape alone."
        ),
        click.option(
            "--recalibrated", type=click.IntRange(min=1), metavar="K",
            help="Measure BatchNorm statistics anew on K batches of reference data, under each "
            "lesion and for the intact network.",
        ),
        click.option(
            "--plan", type=click.Path(dir_okay=False), metavar="FILE.csv",
            help="Lesions from a table with the columns lesion and blocks, instead of --kind and "
            "--count.",
        ),
    ]  # fmt: skip
    for option in reversed(options):
        command = option(command)
    return command


def _list_kinds(context: click.Context, option: click.Parameter, value: bool) -> None:
    if value:
        from ensembles.listings import list_lesions  # noqa: PLC0415

        say(str(list_lesions()))
        context.exit(0)


@click.command("lesion")
@model_options(several=True)
@average_option()
@data_options()
@_choice_options
@kind_options()
@metrics_option()
@task_option()
@run_options()
@click.option(
    "--engine", type=click.Choice(ENGINES), default="shared",
    show_default=True,
    help="shared is prefix or level, as suits the device; direct is slow, for checking.",
)  # fmt: skip
@materials_options()
@store_option()
@click.option("--predictions", is_flag=True, help="Keep the predicted classes in the store too.")
@click.option(
    "--list", is_flag=True, is_eager=True, expose_value=False, callback=_list_kinds,
    help="Show all kinds of lesions with a line each.",
)  # fmt: skip
@click.option(
    "--scale", type=click.Choice(["linear", "log", "symlog"]), default="linear", show_default=True,
    help="Of the figure's axis of errors; symlog shows errors below 1 % and near chance together.",
)  # fmt: skip
@output_options("lesion.png")
def lesion(
    *,
    models: Sequence[str],
    checkpoints: Sequence[str],
    average: bool,
    metrics: str,
    store: str | None,
    predictions: bool,
    scale: Scale,
    out: str | None,
    plot: str | None,
    as_json: bool,
    **given: Any,
) -> None:
    """Delete, move or change blocks of a trained network, and measure its error and more.

    Alone, it deletes each of the 54 blocks of a ResNet-110 trained on handwritten digits. Every
    observation is counted once, with running BatchNorm statistics; the first row is the intact
    network.
    """
    with collection_paused():  # torch takes a sixth less time
        from ensembles.analyses.members.lesion import lesion as run  # noqa: PLC0415
        from ensembles.metrics import read  # noqa: PLC0415

    if predictions and store is None:
        raise click.UsageError("--predictions are kept in a store; name one with --store")
    plan = given["plan"]
    choice = _choice(given)
    measured = read(metrics.replace(",", " ").split())
    check_outputs(out, plot, store, (*checkpoints, *models, plan, given.get("initial")))
    how = {name: given.pop(name) for name in ("batch_size", "precision", "engine", "task")}
    if average:
        subjects = [open_average(pairs(models, checkpoints), **given)]
    else:
        subjects = open_subjects(models, checkpoints, **given)
    for subject in subjects:
        _tell_duration(subject, choice)
    found = [
        run(
            subject.net,
            subject.data,
            subject.lesions(choice),
            metrics=measured,
            device=given["device"],
            model=subject.name,
            store=store,
            predictions=predictions,
            about=subject.about,
            **subject.materials,
            **how,
        )
        for subject in subjects
    ]
    frames = named(found)
    deliver(
        frames, out, plot, as_json,
        draw=partial(_drawn, scale=scale), lines=lesion_table,
        notes=[*image_lines(subjects), *expert_lines(subjects), *map(lesion_summary, frames)],
    )  # fmt: skip
    _tell_failures(frames)


def expert_lines(subjects: Sequence[Subject]) -> list[str]:
    """What a lesion leaves free in networks with mixtures of experts, a line for each."""
    from ensembles.decomposition.mixtures import mixtures  # noqa: PLC0415 (torch)

    counts = {one.name: len(mixtures(one.net)) for one in subjects}
    return [
        f"{name}: {count} blocks choose among experts, anew under each lesion; `ensembles analyze "
        "experts` counts the tokens that go elsewhere"
        for name, count in counts.items()
        if count
    ]


def _tell_duration(subject: Subject, choice: Choice) -> None:
    """Say how long a sweep of a language model takes, where that is minutes on a processor."""
    from ensembles.data.texts import TextDataset  # noqa: PLC0415
    from ensembles.engine.duration import expected_seconds  # noqa: PLC0415 (torch)

    data, net = subject.data, subject.net
    place = next(net.parameters()).device
    if not isinstance(data, TextDataset) or net.input_names or place.type != "cpu":
        return
    lesions = subject.lesions(choice)
    seconds = expected_seconds(net, data.windows[:1], len(data), lesions)
    if seconds > _LONG:
        say(
            f"{len(lesions)} runs of {subject.name} on {len(data)} windows of {data.cut.length} "
            f"tokens: about {max(1, round(seconds / 60))} minutes here",
            err=True,
        )


def _drawn(frames: Sequence[pd.DataFrame], scale: Scale) -> Figure:
    from ensembles.plots import plot_lesions  # noqa: PLC0415 (matplotlib)

    return plot_lesions(frames, scale=scale)


def _choice(given: dict[str, Any]) -> Choice:
    """The lesions that the options ask for; they are taken out of what is given."""
    from ensembles.lesions import Choice, read_plan  # noqa: PLC0415
    from ensembles.text import read_blocks, read_counts, read_roads  # noqa: PLC0415

    kind, plan = given.pop("kind"), given.pop("plan")
    settings = settings_of(kind, given)
    count, blocks = given.pop("count"), given.pop("blocks")
    places: dict[str, Any] = {}
    if blocks is not None:  # 3.2 is a branch of block 3
        places = {"roads": read_roads(blocks)} if "." in blocks else {"blocks": read_blocks(blocks)}
    chosen: dict[str, Any] = {
        "kind": kind,
        "counts": None if count is None else read_counts(count),
        "settings": settings,
        **places,
        **{n: given.pop(n) for n in ("trials", "seed", "skip_transitions", "recalibrated")},
    }
    if plan is None:
        return Choice(**chosen)
    Choice(**chosen, plan=())  # what stands beside a plan is refused before it is read
    return Choice(**chosen, plan=tuple(read_plan(plan)))


def _tell_failures(frames: list[pd.DataFrame]) -> None:
    from ensembles.errors import EvaluationError  # noqa: PLC0415

    failed = [one for frame in frames for one in frame.attrs.get("failed", [])]
    if failed:
        first = failed[0]
        raise EvaluationError(
            f"{len(failed)} lesions could not be measured, the first of them {first['lesion']} "
            f"{first['blocks']} ({first['reason']}); the others are complete"
        )
