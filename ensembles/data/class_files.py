"""Files that say which number each class has, as people have them."""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ensembles.bounded import json_value, read_text
from ensembles.errors import DataError

__all__ = ["check_numbers", "is_number", "read_classes"]

_MOST_BYTES = 2**24
_MOST_CLASSES = 10**6


def read_classes(path: Path, names: Sequence[str]) -> dict[str, int]:
    """Read which number each class has.

    A text file names one class in each line, numbered from 0 by their lines (after the name may
    stand what it means, as in ``n01440764 tench``); or has a name and its number in each line, in
    either order, parted by blanks, tabs or commas. A ``.json`` file is a list of names, a mapping
    of names to numbers, or of numbers to names or lists of names.

    Args:
        path: The file.
        names: The classes that are looked for.

    Raises:
        DataError: When it is none of these, or says two things.
    """
    text = read_text(path, "classes", error=DataError, most=_MOST_BYTES, encoding="utf-8-sig")
    if path.suffix.lower() == ".json":
        pairs = _json_pairs(json_value(text, f"classes {path}", error=DataError), path)
    else:
        pairs = _text_pairs(text, frozenset(names), path)
    found: dict[str, int] = {}
    for name, number in pairs:
        if found.setdefault(name, number) != number:
            raise DataError(f"{path} gives the class {name!r} two numbers, {found[name]}, {number}")
    if not found:
        raise DataError(f"{path} names no class; expected one in each line, or names with numbers")
    check_numbers(found.values(), str(path))
    return found


def is_number(name: str) -> bool:
    """Whether a name is a whole number, from 0, in decimal."""
    return name.isascii() and name.isdigit() and len(name) < 19


def check_numbers(numbers: Iterable[int], where: str) -> None:
    """Refuse numbers that no class has.

    Raises:
        DataError: When one is below 0 or a million or more.
    """
    wrong = [number for number in numbers if not 0 <= number < _MOST_CLASSES]
    if wrong:
        raise DataError(
            f"{where} has the class number {wrong[0]}; expected 0 to {_MOST_CLASSES - 1:,}"
        )


def _json_pairs(value: Any, path: Path) -> list[tuple[str, int]]:
    if isinstance(value, list) and all(isinstance(name, str) for name in value):
        return [(name, number) for number, name in enumerate(value)]
    if isinstance(value, Mapping):
        items = list(value.items())
        if all(isinstance(one, int) and not isinstance(one, bool) for one in value.values()):
            return items
        if all(is_number(key) for key in value):
            several = {
                int(key): one if isinstance(one, list) else [one] for key, one in value.items()
            }
            if all(isinstance(name, str) for one in several.values() for name in one):
                return [(name, number) for number, one in several.items() for name in one]
    raise DataError(
        f"{path} does not say which number a class has; expected a list of names, or a mapping of "
        "names to numbers or of numbers to names"
    )


def _text_pairs(text: str, names: frozenset[str], path: Path) -> list[tuple[str, int]]:
    lines = [line.strip() for line in text.split("\n")]
    lines = [line for line in lines if line and not line.startswith("#")]
    readings: tuple[Callable[[str], tuple[str, str] | None], ...] = (_name_number, _number_name)
    for reading in readings:
        pairs = [reading(line) for line in lines]
        if pairs and pairs[0] is None:  # a line of headings
            pairs = pairs[1:]
        found = [(pair[0], int(pair[1])) for pair in pairs if pair is not None]
        if found and len(found) == len(pairs) and names & {name for name, _ in found}:
            return found
    whole = [(line, number) for number, line in enumerate(lines)]
    first = [(re.split(r"[\s,]", line)[0], number) for number, line in enumerate(lines)]
    chosen = max((whole, first), key=lambda pairs: len(names & {name for name, _ in pairs}))
    repeated = [name for name, times in Counter(name for name, _ in chosen).items() if times > 1]
    if repeated:
        raise DataError(
            f"{path} names {repeated[0]!r} in several lines; expected one class in each line, or "
            "names with numbers"
        )
    return chosen


def _name_number(line: str) -> tuple[str, str] | None:
    cells = _cells(line)
    return (cells[0], cells[-1]) if len(cells) == 2 and is_number(cells[-1]) else None


def _number_name(line: str) -> tuple[str, str] | None:
    cells = _cells(line, last=False)
    return (cells[1], cells[0]) if len(cells) == 2 and is_number(cells[0]) else None


def _cells(line: str, *, last: bool = True) -> list[str]:
    """A line in two, at its only comma or tab, or at its last or first blank."""
    for mark in ("\t", ","):
        if mark in line:
            row = next(csv.reader(io.StringIO(line), delimiter=mark))
            return [cell.strip() for cell in row]
    return line.rsplit(None, 1) if last else line.split(None, 1)
