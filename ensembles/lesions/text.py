"""Lesions from text: lists of blocks, counts, single lesions, plan files."""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TextIO, cast

from ensembles.errors import LesionError
from ensembles.lesions.values import (
    KINDS,
    Kind,
    Lesion,
    refuse_repeats,
    require_block,
    require_roads,
    unknown_kind,
)

_NUMBER = re.compile(r"([0-9]{1,9})", re.ASCII)
_ROAD = re.compile(r"([0-9]{1,9})\.([0-9]{1,9})", re.ASCII)
_SWAP = re.compile(r"([0-9]{1,9})-([0-9]{1,9})", re.ASCII)
_FORMS = {
    "reorder": (_SWAP, "swaps such as 3-17 20-25"),
    "drop": (_ROAD, "roads such as 3.2 5.1"),
}


def parse_blocks(text: str, n: int) -> tuple[int, ...]:
    """Read a list of blocks: ``"3"``, ``"1-5,9"`` or ``"3 17"``.

    Args:
        text: The list; ranges include both ends.
        n: Number of blocks of the network.

    Returns:
        The numbers, sorted.

    Raises:
        LesionError: The text is no such list, or names a block that does not exist, or one
            twice.

    >>> parse_blocks("1-3,9", 54)
    (1, 2, 3, 9)
    """
    blocks: list[int] = []
    for first, last in _ranges(text, "blocks", "3, 1-5,9 or 3 17"):
        require_block(first, n)
        require_block(last, n)
        blocks.extend(range(first, last + 1))
    refuse_repeats("list of blocks", sorted(blocks))
    return tuple(sorted(blocks))


def parse_counts(text: str) -> range:
    """Read a number of blocks or a range of numbers: ``"1"`` or ``"1-20"``.

    Raises:
        LesionError: The text is neither, or begins below 1.

    >>> parse_counts("1-20")
    range(1, 21)
    """
    ranges = _ranges(text, "count", "1 or 1-20")
    if len(ranges) != 1:
        raise LesionError(f"count {text!r}: expected one number or one range, such as 1 or 1-20")
    first, last = ranges[0]
    if first < 1:
        raise LesionError(f"count {first}: expected 1 or more")
    return range(first, last + 1)


def parse_lesion(kind: str, text: str, trial: int | None = None, seed: int | None = None) -> Lesion:
    """Read a lesion from its kind and its :attr:`Lesion.text`.

    Args:
        kind: Its kind.
        text: Its blocks, swaps or roads.
        trial: Number of the random draw.
        seed: Seed of the random draw.

    Raises:
        LesionError: An unknown kind, or a text that does not name blocks (for ``reorder``
            swaps, for ``drop`` roads) separated by spaces.

    >>> parse_lesion("reorder", "3-17 20-25").swaps
    ((3, 17), (20, 25))
    """
    if kind not in KINDS:
        raise unknown_kind(kind)
    pattern, form = _FORMS.get(kind, (_NUMBER, "block numbers such as 3 17"))
    words = text.split()
    for word in words:
        if pattern.fullmatch(word) is None:
            raise LesionError(f"blocks {word!r}: {kind} expects {form}")
    if kind == "reorder":
        return Lesion("reorder", swaps=_pairs(words, "-"), trial=trial, seed=seed)
    if kind == "drop":
        return Lesion("drop", roads=_pairs(words, "."), trial=trial, seed=seed)
    return Lesion(cast(Kind, kind), tuple(map(int, words)), trial=trial, seed=seed)


def _pairs(words: Sequence[str], mark: str) -> tuple[tuple[int, int], ...]:
    parts = (word.partition(mark) for word in words)
    return tuple((int(first), int(second)) for first, _, second in parts)


def parse_roads(text: str, roads: Sequence[int]) -> tuple[tuple[int, int], ...]:
    """Read a list of roads: ``"3.2"``, ``"3.2,5.1"``, or blocks, which stand for all their roads.

    Args:
        text: The list.
        roads: How many roads each block has that can be dropped, 0 where there are none.

    Returns:
        Pairs of a block and the number of one of its roads, sorted.

    Raises:
        LesionError: The text is no such list, or names a road that does not exist, or one twice.

    >>> parse_roads("1,3.2", [2, 0, 4])
    ((1, 1), (1, 2), (3, 2))
    """
    found: list[tuple[int, int]] = []
    for word in text.replace(",", " ").split():
        if (match := _ROAD.fullmatch(word)) is None:
            blocks = parse_blocks(word, len(roads))
            for block in blocks:
                require_roads(block, roads)
            found += [(block, r) for block in blocks for r in range(1, roads[block - 1] + 1)]
            continue
        block, road = map(int, match.groups())
        require_block(block, len(roads))
        require_roads(block, roads)
        if not 1 <= road <= roads[block - 1]:
            raise LesionError(f"road {word}: block {block} has roads 1 to {roads[block - 1]}")
        found.append((block, road))
    if not found:
        raise LesionError(f"roads {text!r}: names none; expected 3.2 or 3.2,5.1")
    for one in found:
        if found.count(one) > 1:
            raise LesionError(f"roads {text!r}: {one[0]}.{one[1]} is named twice; name it once")
    return tuple(sorted(found))


def read_plan(source: str | Path | TextIO, n: int) -> list[Lesion]:
    """Read an explicit list of lesions from a CSV file.

    Args:
        source: Path or open file; columns ``lesion`` and ``blocks``, others are not read.
        n: Number of blocks of the network.

    Returns:
        The lesions, in the order of the file, repeated ones too.

    Raises:
        LesionError: The file cannot be read, lacks a column, holds no lesions, or has a line
            that is none for this network; the message names file and line.
    """
    if isinstance(source, str | Path):
        try:
            with Path(source).open(newline="", encoding="utf-8-sig") as file:
                return _read_plan(file, str(source), n)
        except OSError as error:
            raise LesionError(f"plan {source}: cannot be read ({error.strerror})") from error
    return _read_plan(source, str(getattr(source, "name", "<file>")), n)


def _read_plan(file: TextIO, name: str, n: int) -> list[Lesion]:
    reader = csv.DictReader(file, strict=True)
    lesions = []
    try:
        columns = [column.strip() for column in reader.fieldnames or ()]
        missing = [column for column in ("lesion", "blocks") if column not in columns]
        if missing:
            raise LesionError(
                f"plan {name}: no column {' and no column '.join(missing)} among "
                f"{', '.join(columns) or 'none'}; expected lesion,blocks"
            )
        reader.fieldnames = columns
        for row in reader:
            try:
                lesion = parse_lesion((row["lesion"] or "").strip(), row["blocks"] or "")
                lesion.require(n)
            except LesionError as error:
                raise LesionError(f"plan {name}, line {reader.line_num}: {error}") from None
            lesions.append(lesion)
    except (csv.Error, UnicodeDecodeError) as error:
        raise LesionError(
            f"plan {name}, line {reader.line_num}: is no CSV text ({error})"
        ) from None
    if not lesions:
        raise LesionError(f"plan {name}: no lesions below the header lesion,blocks")
    return lesions


def _ranges(text: str, what: str, example: str) -> list[tuple[int, int]]:
    """First and last number of each part of a list such as ``1-5,9``."""
    ranges = []
    for word in text.replace(",", " ").split():
        match = _SWAP.fullmatch(word)
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
