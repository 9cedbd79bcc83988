"""Counts and blocks of a choice as texts, such as a study's file holds them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from ensembles.lesions import Choice

__all__ = ["blocks_text", "counts_text", "places_text"]

Roads: TypeAlias = "tuple[int | tuple[int, int], ...]"


def counts_text(counts: int | range | None) -> str:
    """A number or a range of numbers.

    >>> counts_text(range(1, 21))
    '1-20'
    """
    if isinstance(counts, range):
        return f"{counts[0]}-{counts[-1]}"
    return "" if counts is None else str(counts)


def blocks_text(blocks: Roads | None) -> str | None:
    """Blocks, and branches that meet in a block; three neighbours or more are a range.

    >>> blocks_text((3, 5, 6, 7))
    '3,5-7'
    >>> blocks_text((1, (3, 2)))
    '1,3.2'
    """
    if blocks is None:
        return None
    runs = [
        f"{run[0]}-{run[-1]}" if len(run) > 2 else ",".join(map(str, run))
        for run in _runs(one for one in blocks if isinstance(one, int))
    ]
    roads = [".".join(map(str, one)) for one in blocks if not isinstance(one, int)]
    return ",".join([*runs, *roads])


def places_text(choice: Choice) -> str | None:
    """The blocks, or the branches, that a choice takes; None for all."""
    return blocks_text(choice.roads if choice.blocks is None else choice.blocks)


def _runs(numbers: Iterable[int]) -> list[list[int]]:
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return runs
