"""`ensembles study`: everything that a paper measures, in one file and one store."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from ensembles.cli.options import device_option
from ensembles.cli.output import say
from ensembles.cli.outputs import raw_cells, raw_cells_option
from ensembles.cli.results import refuse_twins
from ensembles.cli.settings import executor_options, executor_settings
from ensembles.printable import printable

if TYPE_CHECKING:
    import pandas as pd

    from ensembles.studies import Study

__all__ = ["study"]

_HEAD = ("model", "data", "analysis", "seed", "done", "total", "failed", "state")
Command = TypeVar("Command", bound=Callable[..., Any])


@click.group("study")
def study() -> None:
    """Measure everything that a small TOML file names, into one store, and go on after any stop.

    The file, the store and `ensembles study run` are all that it takes to go on with a study, or
    to check it.
    """


def _common(command: Command) -> Command:
    command = click.option(
        "--store", metavar="DB", type=click.Path(dir_okay=False),
        help="The store of the results. [default: FILE with the ending .db]",
    )(command)  # fmt: skip
    return click.argument("file", type=click.Path(dir_okay=False))(command)


@study.command("run")
@_common
@click.option(
    "--on", metavar="EXECUTOR",
    help="Where it runs: here (this process), local (a pool of processes), slurm, ray, or as "
    "an installed package adds. [default: as FILE says, else here]",
)  # fmt: skip
@device_option()
@click.option(
    "--batch-size", type=click.IntRange(min=1), metavar="N",
    help="Rows at a time; halved when memory runs out. [default: by the device]",
)  # fmt: skip
@click.option(
    "--force", is_flag=True,
    help="Go on without comparing the intact errors with the checkpoints' cards.",
)  # fmt: skip
@click.option(
    "--run-model-files", is_flag=True,
    help="Let the study name networks as FILE.py:FUNCTION, and run that code.",
)  # fmt: skip
@executor_options()
def run(
    file: str,
    *,
    store: str | None,
    on: str | None,
    device: str,
    batch_size: int | None,
    force: bool,
    run_model_files: bool,
    **settings: Any,
) -> None:
    """Measure what the store lacks of a study.

    It may be stopped at any moment and continued by the same command, and several processes may
    share the work. A unit that fails is reported and left out; the others go on.
    """
    from ensembles.errors import EvaluationError  # noqa: PLC0415
    from ensembles.studies import run as measure  # noqa: PLC0415

    if run_model_files:
        from ensembles.checkpoints.own_network import allow_in_studies  # noqa: PLC0415

        allow_in_studies()
    chosen, place = _opened(file, store)
    try:
        found = measure(
            chosen, place, on, device=device, batch_size=batch_size, check=not force, tell=_tell,
            **executor_settings(on or chosen.run.on, settings),
        )  # fmt: skip
    except KeyboardInterrupt:
        again = shlex.join(["ensembles", *sys.argv[1:]])
        say(f"interrupted; what was measured is in {place}, and the same command goes on: {again}",
            err=True)  # fmt: skip
        click.get_current_context().exit(130)
    _print(found)
    failed = found[found["state"] == "failed"]
    if len(failed):
        first = failed.iloc[0]
        raise EvaluationError(
            f"{len(failed)} of {len(found)} units failed, the first of them {first['model']} on "
            f"{first['data']}, {first['analysis']}: {first['reason']}"
        )


@study.command("status")
@_common
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
def status(file: str, store: str | None, as_json: bool) -> None:
    """Show how much of a study is there, and what its workers do."""
    import pandas as pd  # noqa: PLC0415

    from ensembles.errors import StoreError  # noqa: PLC0415
    from ensembles.studies import status as look  # noqa: PLC0415
    from ensembles.studies.workers.intake import place_of, take_in  # noqa: PLC0415
    from ensembles.studies.workers.roll import running, workers_said  # noqa: PLC0415
    from ensembles.studies.workers.work_folder import Task  # noqa: PLC0415
    from ensembles.tables import frame_to_json  # noqa: PLC0415

    chosen, place = _opened(file, store)
    try:
        folder = take_in(chosen, place, _tell)
    except StoreError as error:  # whoever may only read sees the rest
        _tell(f"{error}; what workers have published since is not counted")
        folder = place_of(chosen, place)
    found = look(chosen, place)
    if as_json:
        say(frame_to_json(found))
        return
    if folder is not None:
        held = running(folder)
        now = [Task.key_of(unit.digest) in held for unit in chosen.units()]
        found["state"] = found["state"].mask(pd.Series(now) & (found["state"] != "done"), "running")
    _print(found)
    if folder is not None:
        for line in workers_said(folder):
            say(line)


@study.command("export")
@_common
@click.option(
    "--out", required=True, type=click.Path(dir_okay=False), metavar="FILE",
    help="As .csv, .parquet or .json; a file for each table, such as NAME-lesions, NAME-gradient.",
)  # fmt: skip
@raw_cells_option()
@click.option(
    "--table", metavar="TABLE",
    help="Only this one, to FILE itself: lesions, gradient, logits, or the name of an analysis.",
)  # fmt: skip
def export(file: str, store: str | None, out: str, table: str | None) -> None:
    """Write the results of a study as tidy tables."""
    from ensembles.studies import export as write  # noqa: PLC0415
    from ensembles.studies.workers.intake import take_in  # noqa: PLC0415

    chosen, place = _opened(file, store)
    take_in(chosen, place, _tell)
    refuse_twins({"--out": out}, (file, place))
    for path in write(chosen, place, out, table, raw=raw_cells()):
        say(f"wrote {path}", err=True)


@study.command("merge")
@click.argument("target", type=click.Path(dir_okay=False))
@click.argument("sources", nargs=-1, required=True, type=click.Path(dir_okay=False))
@click.option("--keep-first", is_flag=True, help="Where counts differ, keep those that came first.")
def merge(target: str, sources: Sequence[str], keep_first: bool) -> None:
    """Merge the stores of several machines into TARGET.

    Stores that hold different counts of the same thing are refused.
    """
    from ensembles.studies import merge as take_over  # noqa: PLC0415

    merged = take_over(target, sources, keep_first=keep_first)
    apart = f", {merged.different} different and kept as they were" if merged.different else ""
    say(f"{target}: {merged.added} results added, {merged.known} there already{apart}", err=True)


def _opened(file: str, store: str | None) -> tuple[Study, str]:
    from ensembles.studies import read_study  # noqa: PLC0415

    return read_study(file), store or str(Path(file).with_suffix(".db"))


def _tell(line: str) -> None:
    """Say something above the bar."""
    from tqdm import tqdm  # noqa: PLC0415

    tqdm.write(printable(line), file=sys.stderr)


def _print(found: pd.DataFrame) -> None:
    """One line a unit, and what is left in all."""
    from ensembles.cli.tables import aligned  # noqa: PLC0415

    rows = [[_cell(row[name]) for name in _HEAD] for row in found.to_dict("records")]
    for line in aligned(_HEAD, rows, ("seed", "done", "total", "failed")):
        say(line)
    for reason in dict.fromkeys(found.loc[found["reason"] != "", "reason"]):
        say(f"failed: {reason}")


def _cell(value: Any) -> str:
    import pandas as pd  # noqa: PLC0415

    return "" if pd.isna(value) else str(value)
