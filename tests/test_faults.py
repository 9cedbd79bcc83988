"""Whatever ends a command is one line, with an exit status."""

from __future__ import annotations

import errno

import click
import pytest

from ensembles.cli.faults import explained
from ensembles.errors import DataError, UsageError

FULL = OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize(
    ("error", "line", "code"),
    [
        (UsageError("one two"), "one two", 2),
        (DataError("no such images"), "no such images", 1),
        (click.UsageError("no such option"), "no such option", 2),
        (
            FileNotFoundError(errno.ENOENT, "No such file or directory", "a\nb.csv"),
            "a b.csv: No such file or directory", 1,
        ),
        (
            FULL,
            "the operating system refuses: No space left on device; free space, or name another "
            "folder", 1,
        ),
        (
            OSError(errno.EIO, "Input/output error"),
            "the operating system refuses: Input/output error", 1,
        ),
        (
            MemoryError(),
            "memory ran out; take fewer images, smaller batches or a smaller network", 1,
        ),
        (
            RecursionError("maximum recursion depth exceeded"),
            "something given is nested too deep to be followed; --debug shows where", 1,
        ),
        (
            KeyError("x"),
            "this is a fault of the program, please report it (KeyError: 'x'); --debug shows where",
            1,
        ),
        (
            AssertionError(),
            "this is a fault of the program, please report it (AssertionError); --debug shows "
            "where",
            1,
        ),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)  # fmt: skip
def test_every_error_is_a_line_and_a_status(error: Exception, line: str, code: int) -> None:
    assert explained(error) == (line, code)


def test_a_wrong_option_says_where_the_help_is() -> None:
    command = click.Command("lesion")
    error = click.UsageError("no such option", click.Context(command, info_name="ensembles lesion"))
    assert explained(error) == ("no such option (see 'ensembles lesion --help')", 2)
