"""The command line and the programs of `benchmarks/`, called in this process."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType

import pytest

from ensembles.cli import main

Call = Callable[..., tuple[int, str, str]]
LoadProgram = Callable[[str], ModuleType]


def exit_status(*arguments: object) -> int:
    """The exit status of `ensembles` with some arguments."""
    with pytest.raises(SystemExit) as stop:
        main([str(argument) for argument in arguments])
    assert isinstance(stop.value.code, int)
    return stop.value.code


def called(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    """Exit status, standard output and standard error of `ensembles` with some arguments."""
    status = exit_status(*arguments)
    return status, *capsys.readouterr()
