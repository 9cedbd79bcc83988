"""Text files from another hand, read within bounds of bytes, depth and number."""

from __future__ import annotations

import json
import os
import re
import stat
import sys
from pathlib import Path
from typing import Any

from ensembles.errors import EnsemblesError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

__all__ = ["json_value", "read_bytes", "read_text", "toml_table"]

MOST_BYTES = 1 << 20
MOST_DEPTH = 16
MOST_KEYS = 20_000
MOST_VALUES = 200_000

_TOKEN = re.compile(
    # A string or a comment that does not end goes to the end, so that nothing is looked at twice.
    # Two quotes more than three may end a text: they belong to it.
    r'"""(?:[^"\\]|\\.|"(?!""))*"{0,5}'
    r"|'''(?:[^']|'(?!''))*'{0,5}"
    r'|"(?:[^"\\\n]|\\.)*"?'
    r"|'[^'\n]*'?"
    r"|#[^\n]*"
    r"|[\[\]{}.,=\n]",
    re.DOTALL,
)
_KINDS = (
    (stat.S_ISFIFO, "it is a pipe"),
    (stat.S_ISSOCK, "it is a socket"),
    (stat.S_ISCHR, "it is a device"),
    (stat.S_ISBLK, "it is a device"),
)


def read_bytes(
    path: str | Path, what: str, *, error: type[EnsemblesError], most: int = MOST_BYTES
) -> bytes:
    """Read a small file that somebody else may have made.

    A pipe or a device, which may never end, is refused without waiting for it.

    Args:
        path: The file.
        what: What it is to be, such as "card", for the message.
        error: What is raised.
        most: Largest size, bytes.

    Raises:
        EnsemblesError: Of the kind `error`, if it is no plain file, cannot be read or is larger.
    """
    try:
        with open(path, "rb", opener=_without_waiting) as file:
            mode = os.fstat(file.fileno()).st_mode
            if not stat.S_ISREG(mode):
                found = next((said for is_kind, said in _KINDS if is_kind(mode)), "it is none")
                raise error(f"{what} {path}: cannot be read ({found}); expected a plain file")
            content = file.read(most + 1)
    except (OSError, ValueError) as problem:  # a name with a NUL is a ValueError
        raise error(f"{what} {path}: cannot be read ({_reason(problem)})") from problem
    if len(content) > most:
        raise error(f"{what} {path}: is larger than {most} bytes; expected a smaller file")
    return content


def read_text(
    path: str | Path,
    what: str,
    *,
    error: type[EnsemblesError],
    most: int = MOST_BYTES,
    encoding: str = "utf-8",
) -> str:
    """Read a small text file that somebody else may have made; line ends become one sign.

    Args:
        path: The file.
        what: What it is to be, such as "card", for the message.
        error: What is raised.
        most: Largest size, bytes.
        encoding: ``utf-8``, or ``utf-8-sig`` where a mark of byte order may stand in front.

    Raises:
        EnsemblesError: Of the kind `error`, as for :func:`read_bytes`, or if it is no such text.
    """
    content = read_bytes(path, what, error=error, most=most)
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as problem:
        raise error(f"{what} {path}: cannot be read (it is no text file)") from problem
    return text.replace("\r\n", "\n").replace("\r", "\n")


def toml_table(text: str, what: str, *, error: type[EnsemblesError]) -> dict[str, Any]:
    """Read TOML text within bounds that are held before it is parsed.

    A parser's memory grows with the square of the length of a dotted key, and its stack with the
    depth of a value; neither is left to it.

    Args:
        text: The contents of a file, of at most `MOST_BYTES` or what its reader allowed.
        what: What it is to be and where it comes from, for the message.
        error: What is raised.

    Returns:
        The table; whole numbers have at most 64 bits, texts hold no NUL.

    Raises:
        EnsemblesError: Of the kind `error`, if it is no TOML, or passes a bound: `MOST_DEPTH`
            parts of a key or levels of a value, `MOST_KEYS` keys, `MOST_VALUES` values.
    """
    _bound(text, what, error)
    try:
        table = tomllib.loads(text)
    except (ValueError, RecursionError) as problem:  # numbers and dates raise other ValueErrors
        raise error(f"{what} is no TOML: {_reason(problem)}") from problem
    _check(table, what, error)
    return table


def json_value(text: str | bytes, what: str, *, error: type[EnsemblesError]) -> Any:
    """Read JSON text within bounds.

    Args:
        text: The contents of a file, whose size its reader has bounded.
        what: What it is to be and where it comes from, for the message.
        error: What is raised.

    Raises:
        EnsemblesError: Of the kind `error`, if it is no JSON or too deep to read.
    """
    try:
        return json.loads(text)
    except RecursionError as problem:
        raise error(f"{what} is no JSON that can be read: its values lie too deep") from problem
    except ValueError as problem:
        raise error(f"{what} is no JSON: {_reason(problem)}") from problem


def _without_waiting(path: str, flags: int) -> int:
    """Open a file; a pipe that nobody writes to is not waited for."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def _bound(text: str, what: str, error: type[EnsemblesError]) -> None:
    """Refuse what would cost a parser too much, by a look at its signs alone."""
    level = dots = keys = values = 0
    for match in _TOKEN.finditer(text):
        sign = match[0]
        if sign == ".":
            dots += 1
        elif sign in ("[", "{"):
            level += 1
            dots = 0
        elif sign in ("]", "}"):
            level = max(0, level - 1)
        elif sign == "=":
            keys += 1
            dots = 0
        elif sign in (",", "\n"):
            values += sign == ","
            dots = 0
            # A value in brackets may go over lines; anything else ends with its line.
            continue
        if level > MOST_DEPTH or dots >= MOST_DEPTH:
            line = text.count("\n", 0, match.start()) + 1
            raise error(
                f"{what}, line {line}: a key or value of more than {MOST_DEPTH} levels; expected "
                "fewer"
            )
        if keys > MOST_KEYS or values > MOST_VALUES:
            raise error(
                f"{what} holds too much: expected at most {MOST_KEYS} keys and {MOST_VALUES} values"
            )


def _check(value: Any, what: str, error: type[EnsemblesError]) -> None:
    """Hold the values to what every reader can take: 64 bits, no NUL."""
    open_values = [value]
    while open_values:
        one = open_values.pop()
        if isinstance(one, dict):
            open_values += [*one, *one.values()]
        elif isinstance(one, list):
            open_values += one
        elif isinstance(one, str) and "\0" in one:
            raise error(f"{what}: the text {one[:40]!r} holds a NUL character; leave it out")
        elif isinstance(one, int) and not -(2**63) <= one < 2**63:
            raise error(f"{what}: a whole number of more than 64 bits; expected a smaller one")


def _reason(problem: Exception) -> str:
    """What an error says, on one line of moderate length."""
    text = " ".join(str(getattr(problem, "strerror", None) or problem).split())
    return (text if len(text) <= 200 else f"{text[:200]}...") or type(problem).__name__
