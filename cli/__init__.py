"""The command line: parse, one library call, print or write."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Sequence
from contextlib import nullcontext, suppress
from importlib import import_module
from typing import Any

import click

from ensembles.cli.faults import explained
from ensembles.cli.output import (
    ReaderLeftError,
    end_output,
    one_line,
    plain_warnings,
    refuse_output,
    say,
    told_times,
    whole_streams,
)
from ensembles.cli.signals import interruptible
from ensembles.distribution import DISTRIBUTION, VERSION

__all__ = ["main"]

_COMPLETION = "_ENSEMBLES_COMPLETE"

_COMMANDS = {
    "analyze": "ensembles.cli.analyze:analyze",
    "capacity": "ensembles.cli.capacity:capacity",
    "checkpoints": "ensembles.cli.checkpoints:checkpoints",
    "datasets": "ensembles.cli.datasets:datasets",
    "export": "ensembles.cli.export:export",
    "family": "ensembles.cli.family:family",
    "inspect": "ensembles.cli.inspect_:inspect",
    "lesion": "ensembles.cli.lesion:lesion",
    "models": "ensembles.cli.models:models",
    "paths": "ensembles.cli.paths:paths",
    "report": "ensembles.cli.report:report",
    "reproduce": "ensembles.cli.reproduce:reproduce",
    "store": "ensembles.cli.store:store",
    "study": "ensembles.cli.study:study",
    "train": "ensembles.cli.train:train",
}


class _Lazy(click.Group):
    """Commands are imported when they are asked for, so that `--help` starts at once."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Name the commands."""
        return sorted(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a command."""
        if cmd_name not in _COMMANDS:
            return None
        home, _, attribute = _COMMANDS[cmd_name].partition(":")
        command: click.Command = getattr(import_module(home), attribute)
        if sys.flags.optimize > 1:  # which leaves out the texts that are the help
            from ensembles.cli.help_texts import restore  # noqa: PLC0415

            restore(command)
        if not command.help:  # nor is the source there
            command.help = _SUMMARIES[cmd_name]
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find a command; offer the nearest one where there is none."""
        from ensembles.errors import nearest  # noqa: PLC0415

        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            if args and not args[0].startswith("-"):
                hint = nearest(args[0], _COMMANDS)
                raise click.UsageError(f"no command '{args[0]}'{hint}", ctx) from error
            raise

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, _SUMMARIES[name]) for name in sorted(_COMMANDS)])


_SUMMARIES = {
    "analyze": "Run any analysis: lesions, paths, influence, and those of installed packages.",
    "capacity": "Measure how large a network must be for true labels, and for random ones.",
    "checkpoints": "List, fetch, check and add trained networks.",
    "datasets": "List the data sets that are known by name.",
    "export": "Write a network without some of its blocks, for other tools.",
    "family": "Train networks of one size, from wide and shallow to thin and deep, and compare.",
    "inspect": "Show the blocks of a network, and how many paths it has.",
    "lesion": "Delete, move or change blocks, and measure the error and more.",
    "models": "List the architectures.",
    "paths": "Account for all 2^n paths: gradient and logits by path length.",
    "report": "Write results as one HTML page.",
    "reproduce": "Run the paper's findings again, beside what was published.",
    "store": "Examine stores of results.",
    "study": "Run, continue and export all measurements that a small file names.",
    "train": "Train a network.",
}


_HELP = """Take trained networks apart, to see whether they behave like ensembles of shallow ones.

`ensembles lesion` and `ensembles paths --plot` alone run on a ResNet-110 and data that come with
the package.
"""


@click.group(cls=_Lazy, help=_HELP, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--debug", is_flag=True, help="Show the traceback of an error, and what time goes into."
)
@click.version_option(VERSION, package_name=DISTRIBUTION)
def command_line(debug: bool) -> None:
    """All commands."""


_KEEPING = ("analyze", "lesion", "paths")
"""Commands that keep what they measure in a store, where one is named."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; exit with 0 done, 1 failed, 2 wrong usage, 130 interrupted."""
    whole_streams()
    given = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in given
    if debug:
        given.remove("--debug")
    if sys.flags.optimize > 1:
        from ensembles.cli.help_texts import restore  # noqa: PLC0415

        restore(command_line)
    with told_times() if debug else nullcontext():
        code = _run(given, debug)
    sys.exit(code)


def _run(arguments: list[str], debug: bool) -> int:
    if any("\0" in one for one in arguments):
        return _say(
            "an argument holds a NUL, which no name and no text can; leave it out", 2, debug
        )
    try:
        return _command_ended(arguments)
    except ReaderLeftError:
        return 0
    except (click.Abort, KeyboardInterrupt):
        return _say(f"interrupted{_goes_on(arguments)}", 130, debug)
    except SystemExit as stop:  # of code that is not ours: a network's file, a plug-in
        said = f" ({one_line(stop.code)})" if stop.code else ""
        return _say(f"code that was run for this command ended it{said}", 1, debug)
    except Exception as error:  # a person at a terminal gets a line, never a traceback
        return _say(*explained(error), debug)


def _goes_on(arguments: Sequence[str]) -> str:
    """What is left of an interrupted command, where it keeps what it measures."""
    if not {*_KEEPING} & {*arguments[:1]} or not any(
        one.startswith("--store") for one in arguments
    ):
        return ""
    return "; what was measured is in the store, and the same command goes on"


def _command_ended(arguments: list[str]) -> int:
    """Run a command, and hand over what it printed."""
    try:
        with interruptible(), plain_warnings():
            code: Any = command_line.main(arguments, prog_name="ensembles", standalone_mode=False)
    except click.UsageError as error:
        if type(error).__name__ != "NoArgsIsHelpError" or error.ctx is None:
            raise
        say(error.ctx.get_help())  # of a group alone; click 8.2 takes it for an error
        code = 0
    except (OSError, SystemExit) as error:
        if isinstance(error, SystemExit) and _COMPLETION in os.environ:
            return int(error.code or 0)  # a shell has asked what may follow
        refuse_output(error)
        raise
    if isinstance(code, int):  # it ended early, as after its help
        end_output()
        return code
    if sys.stdout is not None:
        end_output()
    return 0


def _say(message: str, code: int, debug: bool) -> int:
    if debug:
        say(traceback.format_exc(), err=True, nl=False)
    say(f"ensembles: {message}", err=True)
    with suppress(ReaderLeftError, Exception):
        end_output()
    return code
