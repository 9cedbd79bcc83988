"""Values from the texts of command lines and study files."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise

from ensembles.errors import LesionError, UsageError

__all__ = ["read_blocks", "read_counts", "read_place", "read_roads"]

_NUMBER = re.compile(r"[0-9]{1,9}", re.ASCII)
_RANGE = re.compile(r"([0-9]{1,9})-([0-9]{1,9})", re.ASCII)
_ROAD = re.compile(r"([0-9]{1,9})\.([0-9]{1,9})", re.ASCII)
_PLACE = re.compile(r"(block|parameters)[ :]([0-9]{1,9})", re.ASCII)
_MOST_BLOCKS = 1_000_000


def read_blocks(text: str, n: int | None = None) -> tuple[int, ...]:
    """Read a list of blocks: ``"3"``, ``"1-5,9"`` or ``"3 17"``.

    Args:
        text: The list; ranges include both ends.
        n: Number of blocks of the network; None where it is not known yet.

    Returns:
        The numbers, sorted.

    Raises:
        LesionError: If the text is no such list, or names a block that does not exist, or one
            twice.

    >>> read_blocks("1-3,9")
    (1, 2, 3, 9)
    """
    blocks: list[int] = []
    for first, last in _ranges(text, "blocks", "3, 1-5,9 or 3 17"):
        _require(first, n)
        _require(last, n)
        blocks.extend(range(first, last + 1))
        if len(blocks) > _MOST_BLOCKS:
            raise LesionError(f"list of blocks: names more than {_MOST_BLOCKS}; name each once")
    blocks.sort()
    for block, following in pairwise(blocks):
        if block == following:
            raise LesionError(f"list of blocks: block {block} is named twice; name each block once")
    return tuple(blocks)


def read_counts(text: str) -> range:
    """Read a number of blocks or a range of numbers: ``"1"`` or ``"1-20"``.

    Raises:
        LesionError: If the text is neither, or begins below 1.

    >>> read_counts("1-20")
    range(1, 21)
    """
    ranges = _ranges(text, "count", "1 or 1-20")
    if len(ranges) != 1:
        raise LesionError(f"count {text!r}: expected one number or one range, such as 1 or 1-20")
    first, last = ranges[0]
    if first < 1:
        raise LesionError(f"count {first}: expected 1 or more")
    return range(first, last + 1)


def read_roads(text: str, roads: Sequence[int] | None = None) -> tuple[int | tuple[int, int], ...]:
    """Read a list of the branches that meet in blocks: ``"3.2"``, ``"3.2,5.1"``, ``"3.2,5"``.

    Args:
        text: The list; a block stands for all its branches.
        roads: How many branches meet in each block that can be left out, 0 for none; None where it
            is not known yet.

    Returns:
        Pairs of a block and the number of one of its branches, sorted; blocks as they are where
        `roads` is not known.

    Raises:
        LesionError: If the text is no such list, or names a branch that does not exist, or one
            twice.

    >>> read_roads("3.2,5")
    ((3, 2), 5)
    >>> read_roads("1,3.2", [2, 0, 4])
    ((1, 1), (1, 2), (3, 2))
    """
    found: list[int | tuple[int, int]] = []
    for word in text.replace(",", " ").split():
        if (match := _ROAD.fullmatch(word)) is None:
            for block in read_blocks(word, None if roads is None else len(roads)):
                found += [block] if roads is None else _every(block, roads)
            continue
        block, road = map(int, match.groups())
        _require(block, None if roads is None else len(roads))
        if roads is not None and (block, road) not in _every(block, roads):
            raise LesionError(f"branch {word}: block {block} has branches 1 to {roads[block - 1]}")
        if road < 1:
            raise LesionError(f"branch {word}: branches are numbered from 1")
        found.append((block, road))
    if not found:
        raise LesionError(f"branches {text!r}: names none; expected 3.2 or 3.2,5.1")
    found.sort(key=lambda one: (one, 0) if isinstance(one, int) else one)
    for one, following in pairwise(found):
        if one == following:
            raise LesionError(f"branches {text!r}: {_named(one)} is named twice; name it once")
        if isinstance(one, int) and not isinstance(following, int) and following[0] == one:
            raise LesionError(
                f"branches {text!r}: {_named(following)} is named beside all of block {one}; "
                "name it once"
            )
    return tuple(found)


def read_place(text: str) -> tuple[str, int | None]:
    """Read where a gradient is taken: ``"input"``, ``"block 3"``, ``"parameters:3"``.

    Returns:
        ``input``, ``first``, ``blocks``, ``block`` or ``parameters``, and the number of the block.

    Raises:
        UsageError: If the text is no such place.

    >>> read_place("block 3")
    ('block', 3)
    """
    if text in ("input", "first", "blocks"):
        return text, None
    found = _PLACE.fullmatch(text)
    if found is None:
        raise UsageError(
            f"the place '{text}' of a gradient; expected input, first, blocks, 'block 3' "
            "or 'parameters 3'"
        )
    return found[1], int(found[2])


def _named(road: int | tuple[int, int]) -> str:
    return str(road) if isinstance(road, int) else f"{road[0]}.{road[1]}"


def _every(block: int, roads: Sequence[int]) -> list[tuple[int, int]]:
    if not roads[block - 1]:
        raise LesionError(
            f"block {block} has no branches to drop one of: drop takes blocks where several "
            "branches meet; delete the block"
        )
    return [(block, road) for road in range(1, roads[block - 1] + 1)]


def _require(block: int, n: int | None) -> None:
    if n is None and not 1 <= block <= _MOST_BLOCKS:
        expected = "blocks are numbered from 1" if block < 1 else "no network has so many blocks"
        raise LesionError(f"block {block}: {expected}")
    if n is not None and not 1 <= block <= n:
        raise LesionError(f"block {block}: the network has blocks 1 to {n}")


def _ranges(text: str, what: str, example: str) -> list[tuple[int, int]]:
    """First and last number of each part of a list such as ``1-5,9``."""
    ranges = []
    for word in text.replace(",", " ").split():
        match = _RANGE.fullmatch(word)
        if match is None and _NUMBER.fullmatch(word) is None:
            raise LesionError(
                f"{what} {text!r}: {word!r} is no number or range; expected {example}"
            )
        first, last = map(int, match.groups()) if match else (int(word), int(word))
        if last < first:
            raise LesionError(f"{what} {text!r}: the range {word} ends below its start")
        ranges.append((first, last))
    if not ranges:
        raise LesionError(f"{what} {text!r}: names none; expected {example}")
    return ranges
