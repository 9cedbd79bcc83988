"""`ensembles analyze`: any analysis of a network on data, by its name."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any

import click

from ensembles.cli.options import (
    average_option,
    data_options,
    image_lines,
    materials_options,
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
from ensembles.cli.results import check_outputs, deliver, named, plain_table
from ensembles.cli.settings import setting_options

if TYPE_CHECKING:
    import pandas as pd

    from ensembles.analyses.kinds import AnyAnalysis

__all__ = ["analyze"]

_OWN = {"lesion": "ensembles.cli.lesion:lesion", "paths": "ensembles.cli.paths:paths"}
"""Analyses that have a command of their own."""

_SUBJECT = (
    "dataset", "split", "limit", "normalize", "image_size", "resize", "crop", "interpolation",
    "crop_mode", "colours", "test_size", "classes", "labels", "block_names", "block_kinds",
    "nested", "weights", "match", "window", "stride", "front", "column", "masked", "mask_seed",
    "reference", "initial", "in_channels",
)  # fmt: skip


class _Analyses(click.Group):
    """A subcommand for each analysis, made when it is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Name the analyses."""
        from ensembles.analyses.kinds import ANALYSES  # noqa: PLC0415

        return list(ANALYSES.names())

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Make the command of an analysis.

        Raises:
            UsageError: If there is no such analysis; the nearest one is offered.
        """
        from ensembles.analyses.kinds import ANALYSES  # noqa: PLC0415

        if cmd_name in _OWN:
            home, _, attribute = _OWN[cmd_name].partition(":")
            command: click.Command = getattr(import_module(home), attribute)
            return command
        return _command(ANALYSES.get(cmd_name))

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the analyses."""
        from ensembles.listings import list_analyses  # noqa: PLC0415

        with formatter.section("Analyses"):
            formatter.write_dl([(name, summary) for name, summary in list_analyses()])


@click.group("analyze", cls=_Analyses, invoke_without_command=True)
@click.option("--list", "listed", is_flag=True, help="Show all analyses with a line each.")
@click.pass_context
def analyze(context: click.Context, *, listed: bool) -> None:
    """Run an analysis of a network on data: its table, its figure, its place in a store.

    `ensembles analyze NAME --help` shows the options of one. Installed packages may bring more.
    """
    if listed:
        from ensembles.listings import list_analyses  # noqa: PLC0415

        say(str(list_analyses()))
        context.exit(0)
    if context.invoked_subcommand is None:
        say(context.get_help())
        context.exit(0)


def _command(analysis: AnyAnalysis) -> click.Command:
    """The command of an analysis, with an option for each of its options."""
    settings = analysis.options.settings()
    names = {one.name for one in settings}

    def run(**given: Any) -> None:
        own = {name: given.pop(name) for name in names}
        _run(analysis, own, **given)

    source = f"\n\nSource: {analysis.source}." if analysis.source else ""
    run.__doc__ = f"{analysis.summary}{source}"
    decorators: list[Callable[[Callable[..., Any]], Callable[..., Any]]] = [
        model_options(several=True), average_option(), data_options(), task_option(),
        setting_options(settings), run_options(), materials_options(), store_option(),
        output_options(f"{analysis.name}.png"),
    ]  # fmt: skip
    body: Callable[..., Any] = run
    for decorate in reversed(decorators):
        body = decorate(body)
    command = click.command(analysis.name)(body)
    _refuse_twins(command, analysis.name)
    return command


def _refuse_twins(command: click.Command, name: str) -> None:
    """Refuse an analysis from outside with an option that every command has."""
    from ensembles.errors import UsageError  # noqa: PLC0415

    seen: set[str | None] = set()
    for parameter in command.params:
        if parameter.name in seen:
            raise UsageError(
                f"analysis '{name}' has an option '{parameter.name}', which every analysis has on "
                "the command line; rename it"
            )
        seen.add(parameter.name)


def _run(
    analysis: AnyAnalysis,
    own: dict[str, Any],
    *,
    models: Sequence[str],
    checkpoints: Sequence[str],
    average: bool,
    store: str | None,
    out: str | None,
    plot: str | None,
    as_json: bool,
    **given: Any,
) -> None:
    """Open the networks, run the analysis on each, and hand the tables over."""
    from ensembles.analyses.analyze import analyze as measure  # noqa: PLC0415

    analysis.options.made(own, analysis.name)
    check_outputs(out, plot, store, (*checkpoints, *models))
    about = {name: given.pop(name) for name in _SUBJECT if name in given}
    if average:
        subjects = [open_average(pairs(models, checkpoints), device=given["device"], **about)]
    else:
        subjects = open_subjects(models, checkpoints, device=given["device"], **about)
    found = [
        measure(
            subject.net,
            subject.data,
            analysis.name,
            store=store,
            model=subject.name,
            about=subject.about,
            **subject.materials,
            **given,
            **own,
        )
        for subject in subjects
    ]
    frames = named(found)
    notes = image_lines(subjects)
    notes += [line for frame in frames for line in _notes(analysis, frame, len(frames) > 1)]
    deliver(
        frames, out, plot, as_json,
        draw=analysis.draw, lines=lambda tables: _lines(analysis, tables), notes=notes,
    )  # fmt: skip


def _notes(analysis: AnyAnalysis, frame: pd.DataFrame, several: bool) -> list[str]:
    name = f"{frame.attrs['model']}: " if several else ""
    return [f"{name}{line}" for line in analysis.notes(frame)]


def _lines(analysis: AnyAnalysis, frames: Sequence[pd.DataFrame]) -> list[str]:
    """Each network's table, and what else its attributes hold."""
    lines = []
    for frame in frames:
        if len(frames) > 1:
            lines.append(str(frame.attrs["model"]))
        lines.append(plain_table(frame, analysis.shown))
        for title, view in analysis.views(frame).items():
            lines += ["", title, plain_table(view)]
    return lines
