"""The line that a person gets for an error, and the exit status."""

from __future__ import annotations

import errno

import click

from ensembles.cli.output import one_line

__all__ = ["explained"]


def explained(error: Exception) -> tuple[str, int]:
    """What is said of an error, on one line, and the exit status.

    Args:
        error: What ended a command: one of ours, of click, of the operating system, or a fault.
    """
    from ensembles.errors import EnsemblesError  # noqa: PLC0415

    if isinstance(error, EnsemblesError):
        return one_line(error), error.exit_code
    if isinstance(error, click.ClickException):
        context = error.ctx if isinstance(error, click.UsageError) else None
        where = f" (see '{context.command_path} --help')" if context is not None else ""
        return one_line(error.format_message()) + where, error.exit_code
    if isinstance(error, OSError):
        return _refused(error), 1
    if isinstance(error, MemoryError):
        return "memory ran out; take fewer images, smaller batches or a smaller network", 1
    if isinstance(error, RecursionError):
        return "something given is nested too deep to be followed; --debug shows where", 1
    said = f"{type(error).__name__}: {one_line(error)}".removesuffix(": ")
    return f"this is a fault of the program, please report it ({said}); --debug shows where", 1


def _refused(error: OSError) -> str:
    """A refusal of the operating system that nothing else has put into words."""
    reason = one_line(error.strerror or error) or type(error).__name__
    if error.filename is not None:
        return f"{one_line(error.filename)}: {reason}"
    full = "; free space, or name another folder" if error.errno == errno.ENOSPC else ""
    return f"the operating system refuses: {reason}{full}"
