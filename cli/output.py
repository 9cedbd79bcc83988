"""What the commands say: the one place where text leaves for a terminal, a pipe or a file."""

from __future__ import annotations

import logging
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, TextIO

import click

from ensembles.printable import printable

__all__ = [
    "ReaderLeftError",
    "end_output",
    "one_line",
    "plain_warnings",
    "say",
    "told_times",
    "whole_streams",
]


class ReaderLeftError(Exception):
    """Whoever read our standard output has left, as `head` does; it is nobody's fault."""


def say(text: object, *, err: bool = False, nl: bool = True) -> None:
    """Print text; what would act on a terminal is escaped, as is what its encoding lacks.

    Args:
        text: What is printed; ends of lines and tabs stay.
        err: Whether it goes to standard error.
        nl: Whether the line is ended.

    Raises:
        OutputError: If standard output is closed or takes no more.
        ReaderLeftError: If its reader has left.
    """
    from ensembles.errors import OutputError  # noqa: PLC0415

    stream = sys.stderr if err else sys.stdout
    if stream is None:
        if err:
            return
        raise OutputError("standard output is closed; write the result to a file with --out")
    encoding = getattr(stream, "encoding", None) or "utf-8"
    shown = printable(str(text)).encode(encoding, "backslashreplace").decode(encoding)
    try:
        click.echo(shown, file=stream, nl=nl)
    except OSError as error:
        _silence(stream)
        if not err:
            raise _refusal(error) from error


def end_output() -> None:
    """Hand over what standard output still holds; the errors are those of :func:`say`."""
    say("", nl=False)


def refuse_output(error: OSError | SystemExit) -> None:
    """Raise what :func:`say` would, where it is click that could not print, such as its help.

    Args:
        error: What ended a command; click itself ends the program where its reader has left.
    """
    if isinstance(error, SystemExit):
        if "PacifyFlush" in type(sys.stdout).__name__:  # what click then leaves behind
            raise ReaderLeftError from error
        return
    place = error.__traceback__
    while place is not None and place.tb_next is not None:
        place = place.tb_next
    if place is not None and place.tb_frame.f_globals.get("__name__") == "click.utils":
        if sys.__stdout__ is not None:
            _silence(sys.__stdout__)
        raise _refusal(error) from error


def _refusal(error: OSError) -> Exception:
    from ensembles.errors import OutputError  # noqa: PLC0415

    if isinstance(error, BrokenPipeError):
        return ReaderLeftError()
    return OutputError(f"standard output: cannot be written ({error.strerror})")


def one_line(text: object) -> str:
    """Text on one line, of a length that a person reads."""
    shown = printable(" ".join(str(text).split()), lines=False)
    return shown if len(shown) <= _LONGEST else f"{shown[:_LONGEST]}..."


_LONGEST = 2000


@contextmanager
def plain_warnings() -> Iterator[None]:
    """Show a warning of ours as a line, where others keep the place that they come from."""

    def show(message: Warning | str, category: type[Warning], *place: Any, **more: Any) -> None:
        if category.__module__.startswith("ensembles."):
            say(f"ensembles: warning: {one_line(message)}", err=True)
        else:
            say(warnings.formatwarning(message, category, *place[:2]), err=True, nl=False)

    with warnings.catch_warnings():
        warnings.showwarning = show
        yield


class _Said(logging.Handler):
    """Says what is logged on standard error."""

    def emit(self, record: logging.LogRecord) -> None:
        """Say one record."""
        say(self.format(record), err=True)


@contextmanager
def told_times() -> Iterator[None]:
    """Show on standard error what the library measures of itself."""
    log, handler = logging.getLogger("ensembles"), _Said()
    before = log.level
    log.setLevel(logging.DEBUG)
    log.addHandler(handler)
    try:
        yield
    finally:
        log.removeHandler(handler)
        log.setLevel(before)


def whole_streams() -> None:
    """Open the null device for standard streams that are closed, but leave them closed to us.

    A file that is opened next would else get the number of one of them, and what a library prints
    would be written into it.
    """
    with suppress(OSError):
        while (number := os.open(os.devnull, os.O_RDWR)) <= 2:
            os.set_inheritable(number, True)
        os.close(number)


def _silence(stream: TextIO) -> None:
    """Let what a stream still holds go nowhere, so that the interpreter can end in peace."""
    with suppress(OSError, ValueError, AttributeError):
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, stream.fileno())
        os.close(null)
