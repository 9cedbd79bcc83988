"""The help of commands where Python leaves out the texts that it is made of (``python -OO``)."""

from __future__ import annotations

import ast
import inspect
from contextlib import suppress
from pathlib import Path

import click

__all__ = ["restore"]


def restore(command: click.Command) -> None:
    """Give a command, and those below it, the text of their functions in the source."""
    if not command.help and command.callback is not None:
        command.help = _text_of(command)
    if isinstance(command, click.Group):
        for one in command.commands.values():
            restore(one)


def _text_of(command: click.Command) -> str | None:
    """The text below the head of a command's function; None where the source is not there."""
    function = inspect.unwrap(command.callback)  # type: ignore[arg-type]
    with suppress(OSError, SyntaxError, TypeError):
        source = Path(inspect.getfile(function)).read_text(encoding="utf-8")
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.FunctionDef) and node.name == function.__name__:
                return ast.get_docstring(node)
    return None
