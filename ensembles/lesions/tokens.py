"""The words that texts of lesions are made of: numbers, spans, and marks such as ``x0.5``."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from numbers import Real
from operator import index
from typing import Any, NamedTuple

from ensembles.errors import LesionError

__all__ = [
    "FACTOR", "NUMBER", "PAIR", "SEED", "SPAN", "STRENGTH", "TIMES", "Mark", "block_numbers",
    "finite", "leading_numbers", "read_marks", "seed_number", "whole",
]  # fmt: skip

NUMBER = re.compile(r"[0-9]{1,18}", re.ASCII)
_NUMBERS = re.compile(r"[0-9]{1,18}(?: [0-9]{1,18})*", re.ASCII)
SPAN = re.compile(r"([0-9]{1,18})-([0-9]{1,18})", re.ASCII)
PAIR = re.compile(r"([0-9]{1,18})\.([0-9]{1,18})", re.ASCII)

_FLOAT = r"([+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:e[+-]?[0-9]+)?)"
_HIGHEST_SEED = 2**63 - 1


class Mark(NamedTuple):
    """A word of a text that stands for a setting.

    Attributes:
        setting: The field of the lesion.
        pattern: Matches the word; its group is the value.
        read: Makes the value.
    """

    setting: str
    pattern: re.Pattern[str]
    read: Callable[[str], Any]


FACTOR = re.compile("x" + _FLOAT, re.ASCII)
STRENGTH = re.compile("s" + _FLOAT, re.ASCII)
TIMES = Mark("times", re.compile(r"x([0-9]{1,18})", re.ASCII), int)
SEED = Mark("seed", re.compile(r"seed([0-9]{1,19})", re.ASCII), int)


def block_numbers(kind: str, blocks: Any) -> tuple[int, ...]:
    """Numbers of blocks, sorted; one number by itself is a block.

    Raises:
        LesionError: If there are none, one is no number from 1 on, or one is named twice.
    """
    if isinstance(blocks, str) or not isinstance(blocks, int | Iterable):
        raise LesionError(f"{kind} of {blocks!r}: expected numbers of blocks, such as (3, 17)")
    each = [blocks] if isinstance(blocks, int) else list(blocks)
    plain = set(map(type, each)) <= {int}  # of a table's lesions nearly always
    numbers = sorted(each) if plain else sorted(whole(f"{kind}: block", one) for one in each)
    if not numbers:
        raise LesionError(f"lesion '{kind}' needs one block or more")
    if numbers[0] < 1:
        raise LesionError(f"block {numbers[0]}: blocks are numbered from 1")
    if len(set(numbers)) < len(numbers):
        twice = next(one for one, following in pairwise(numbers) if one == following)
        raise LesionError(f"{kind}: block {twice} is named twice; name each block once")
    return tuple(numbers)


def whole(what: str, value: Any, least: int | None = None, most: int | None = None) -> int:
    """A whole number.

    Raises:
        LesionError: If it is none, or out of bounds.
    """
    try:
        number = index(value)
    except TypeError:
        number = None
    if number is None or isinstance(value, bool):
        raise LesionError(f"{what} {value!r}: expected a whole number")
    if least is not None and number < least:
        raise LesionError(f"{what} {number}: expected {least} or more")
    if most is not None and number > most:
        raise LesionError(f"{what} {number}: expected at most {most}")
    return number


def seed_number(kind: str, value: Any) -> int:
    """A seed of a lesion's own.

    Raises:
        LesionError: If it is no whole number from 0 to 2^63 - 1.
    """
    return whole(f"{kind}: seed", value, 0, _HIGHEST_SEED)


def finite(what: str, value: Any) -> float:
    """A finite number; both zeros are one.

    Raises:
        LesionError: If it is none.
    """
    if isinstance(value, bool) or not isinstance(value, Real) or not math.isfinite(value):
        raise LesionError(f"{what} {value!r}: expected a finite number")
    return float(value) + 0.0


def leading_numbers(text: str) -> tuple[tuple[int, ...], list[str]]:
    """The whole numbers that a text begins with, and the words after them.

    >>> leading_numbers("3 17 x0.5")
    ((3, 17), ['x0.5'])
    """
    words = text.split()
    if _NUMBERS.fullmatch(text):  # nearly every text of a large table
        return tuple(map(int, words)), []
    end = next((i for i, word in enumerate(words) if NUMBER.fullmatch(word) is None), len(words))
    return tuple(int(word) for word in words[:end]), words[end:]


def read_marks(kind: str, words: Sequence[str], marks: Sequence[Mark], form: str) -> dict[str, Any]:
    """Read the words that stand for settings, in their order; any may be missing.

    Args:
        kind: Of the lesion.
        words: The words after the blocks.
        marks: The words that there are.
        form: What a text of the kind looks like, for messages.

    Raises:
        LesionError: Naming the first word that is none of them.
    """
    left, found = list(marks), {}
    for word in words:
        matches = ((mark, mark.pattern.fullmatch(word)) for mark in left)
        mark, match = next(((mark, match) for mark, match in matches if match), (None, None))
        if mark is None or match is None:
            raise LesionError(f"blocks {word!r}: {kind} expects {form}")
        found[mark.setting] = mark.read(match.group(1))
        left = left[left.index(mark) + 1 :]
    return found
