"""How a large unit is split, so that several workers measure it and little is lost with one."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from ensembles.lesions import Lesion

__all__ = ["SMALL", "Part", "of_part", "sizes_of"]

SMALL = 16
"""Lesions below which a part is not split only to give every worker one: each part measures the
intact network, too, which costs as much as two lesions."""


class Part(NamedTuple):
    """One part of several.

    Attributes:
        number: From 1.
        of: How many there are.
    """

    number: int
    of: int


def sizes_of(lesions: int, seconds: float, minutes: float, least: int = 1) -> tuple[int, ...]:
    """How many lesions each part takes.

    Args:
        lesions: How many there are.
        seconds: How long one takes, as far as is known.
        minutes: How long a part is to take.
        least: Parts that are wanted, so that every worker has one, unless they would be small.
    """
    parts = math.ceil(lesions * seconds / (60 * minutes)) if lesions else 1
    parts = max(parts, min(least, lesions // SMALL))
    parts = max(1, min(parts, lesions))
    ends = [lesions * number // parts for number in range(parts + 1)]
    return tuple(b - a for a, b in pairwise(ends))


def of_part(lesions: Sequence[Lesion], n: int, part: Part) -> list[Lesion]:
    """The lesions of one part: neighbours in the tree of shared prefixes.

    Lesions are sorted by what runs, position by position, so that those that begin alike come to
    lie in one part, where what they share runs once.

    Args:
        lesions: All lesions of the unit.
        n: Number of blocks.
        part: Which part.
    """
    if part.of == 1:
        return list(lesions)
    ordered = sorted(lesions, key=lambda one: (_program(one, n), one.kind, one.text))
    first, last = (len(ordered) * end // part.of for end in (part.number - 1, part.number))
    return ordered[first:last]


def _program(lesion: Lesion, n: int) -> list[tuple[str, ...]]:
    return [tuple(str(step.key) for step in steps) for steps in lesion.program(n)]
