"""The command line: parse, one library call, print or write."""

from __future__ import annotations

import errno
import os
import sys
import traceback
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from typing import Any

import click

from ensembles.cli.signals import interruptible

__all__ = ["main"]

_COMMANDS = {
    "analyze": "ensembles.cli.analyze:analyze",
    "checkpoints": "ensembles.cli.checkpoints:checkpoints",
    "datasets": "ensembles.cli.datasets:datasets",
    "export": "ensembles.cli.export:export",
    "inspect": "ensembles.cli.inspect_:inspect",
    "lesion": "ensembles.cli.lesion:lesion",
    "models": "ensembles.cli.models:models",
    "paths": "ensembles.cli.paths:paths",
    "report": "ensembles.cli.report:report",
    "reproduce": "ensembles.cli.reproduce:reproduce",
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
    "checkpoints": "List, fetch, check and add trained networks.",
    "datasets": "List the data sets that are known by name.",
    "export": "Write a network without some of its blocks, for other tools.",
    "inspect": "Show the blocks of a network, and how many paths it has.",
    "lesion": "Delete, move or change blocks, and measure what is still answered.",
    "models": "List the architectures.",
    "paths": "Account for all 2^n paths: gradient and logits by path length.",
    "report": "Write results as one HTML page.",
    "reproduce": "Run the paper's findings again, beside what was published.",
    "study": "Run, continue and export all measurements that a small file names.",
    "train": "Train a network.",
}


@click.group(cls=_Lazy, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
@click.version_option(package_name="ensembles")
def command_line(debug: bool) -> None:
    """Take trained networks apart, to see whether they behave like ensembles of shallow ones.

    `ensembles lesion` and `ensembles paths --plot` alone run on a ResNet-110 and data that come
    with the package.
    """


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; exit with 0 done, 1 failed, 2 wrong usage, 130 interrupted."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in given
    if debug:
        given.remove("--debug")
    sys.exit(_run(given, debug))


def _run(arguments: list[str], debug: bool) -> int:
    try:
        with interruptible(), _plain_warnings():
            code: Any = command_line.main(arguments, prog_name="ensembles", standalone_mode=False)
        sys.stdout.flush()
        return code if isinstance(code, int) else 0
    except click.exceptions.Exit as stop:
        return stop.exit_code
    except BrokenPipeError:  # the reader of our output has left, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (click.Abort, KeyboardInterrupt):
        return _say("interrupted", 130, debug)
    except Exception as error:  # a person at a terminal gets a line, never a traceback
        return _say(*_explain(error), debug)


@contextmanager
def _plain_warnings() -> Iterator[None]:
    """Show a warning of ours as a line, where others keep the place that they come from."""
    shown = warnings.showwarning

    def show(message: Warning | str, category: type[Warning], *place: Any, **more: Any) -> None:
        if category.__module__.startswith("ensembles."):
            click.echo(f"ensembles: warning: {_line(str(message))}", err=True)
        else:
            shown(message, category, *place, **more)

    with warnings.catch_warnings():
        warnings.showwarning = show
        yield


def _say(message: str, code: int, debug: bool) -> int:
    if debug:
        traceback.print_exc()
    click.echo(f"ensembles: {message}", err=True)
    return code


def _explain(error: Exception) -> tuple[str, int]:
    """The line for an error, and the exit status."""
    from ensembles.errors import EnsemblesError  # noqa: PLC0415

    if isinstance(error, EnsemblesError):
        return _line(str(error)), error.exit_code
    if isinstance(error, click.ClickException):
        context = error.ctx if isinstance(error, click.UsageError) else None
        where = f" (see '{context.command_path} --help')" if context is not None else ""
        return _line(error.format_message()) + where, error.exit_code
    if isinstance(error, OSError):
        unnamed = "standard output: " if error.errno == errno.ENOSPC else ""
        place = f"{error.filename}: " if error.filename else unnamed
        return place + _line(error.strerror or str(error)), 1
    return f"unexpected {type(error).__name__}: {_line(str(error))}; --debug shows where", 1


def _line(text: str) -> str:
    return " ".join(text.split())
