"""States of several lesions as one: their rows lie on pages, and a step takes a page at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

import torch
from torch import Tensor

from ensembles.decomposition.state import State, own

__all__ = [
    "OWN", "Piece", "Rows", "fixed_rows", "joined_rows", "leaves", "rows_on", "run_on_pages",
    "whole_tensor",
]  # fmt: skip

_ALIGNED = 16
"""Bytes of which an address is a multiple, as kernels like it."""

OWN = None
"""Stands for a block's own input among the names of what is alive."""


class Piece(NamedTuple):
    """Some rows of a page.

    Attributes:
        page: A tensor or a state.
        start: The first of the rows.
        stop: Behind the last of them.
    """

    page: Any
    start: int
    stop: int


Rows: TypeAlias = list[Piece]
"""The rows of one state, in order."""


def leaves(state: Any) -> Mapping[str | None, Any]:
    """What a state holds, by name."""
    found: dict[str | None, Any] = {OWN: own(state)}
    if isinstance(state, State):
        found.update(state.carried.items())
    return found


def rows_on(state: Any) -> int:
    """How many rows a state holds."""
    return len(leaves(state)[OWN])


def joined_rows(pieces: Sequence[Piece], constant: frozenset[str | None], rows: int = 0) -> Any:
    """Rows of several pages as one page; nothing is copied where they are a page already.

    Args:
        pieces: The rows, in order.
        constant: Names of what has no rows and is one for all.
        rows: As many rows as the page must have; what is missing repeats its first row.
    """
    pieces = list(_merged(pieces))
    first = pieces[0].page
    there = sum(piece.stop - piece.start for piece in pieces)
    if len(pieces) == 1 and pieces[0].start == 0 and rows_on(first) == (rows or there):
        return first if not rows else changed(settled, first, constant)

    def one(name: str | None) -> Any:
        value = leaves(first)[name]
        if name in constant:
            return value
        parts = [leaves(piece.page)[name][piece.start : piece.stop] for piece in pieces]
        made = parts[0] if len(parts) == 1 else torch.cat(parts)
        return fixed_rows(made, rows) if rows else made

    if isinstance(first, State):
        return State(one(OWN), {name: one(name) for name in first.carried})
    return one(OWN)


def changed(change: Callable[[Tensor], Any], state: Any, constant: frozenset[str | None]) -> Any:
    """A state with all that has rows changed."""

    def one(name: str | None, value: Any) -> Any:
        return value if name in constant else change(value)

    if isinstance(state, State):
        carried = {name: one(name, value) for name, value in state.carried.items()}
        return State(one(OWN, state.x), carried)
    return one(OWN, state)


def fixed_rows(tensor: Tensor, rows: int) -> Tensor:
    """A tensor with as many rows as asked for, of which the first is repeated."""
    missing = rows - len(tensor)
    if missing:
        tensor = torch.cat([tensor, tensor[:1].expand(missing, *tensor.shape[1:])])
    return settled(tensor)


def settled(tensor: Tensor) -> Tensor:
    """The same values in the order and at an address that do not tell where they come from.

    Libraries choose a kernel by both.
    """
    form = torch.channels_last if tensor.ndim == 4 else torch.contiguous_format
    made = tensor.contiguous(memory_format=form)
    return made.clone() if made.data_ptr() % _ALIGNED else made


def filled_pages(
    states: Sequence[Rows], size: int
) -> Iterator[tuple[list[Piece], list[tuple[int, int, int]]]]:
    """Cut the rows of states, one state after the other, into pages.

    Args:
        states: The rows of each state.
        size: How many rows a page has at most.

    Yields:
        The rows of a page, and which rows of which state they are: number of the state, its first
        row there, and the row behind the last.
    """
    pieces: list[Piece] = []
    owners: list[tuple[int, int, int]] = []
    room = size
    for number, rows in enumerate(states):
        done = 0
        for page, start, stop in rows:
            place = start
            while place < stop:
                take = min(stop - place, room)
                pieces.append(Piece(page, place, place + take))
                owners.append((number, done, done + take))
                place, done, room = place + take, done + take, room - take
                if room == 0:
                    yield pieces, owners
                    pieces, owners, room = [], [], size
    if pieces:
        yield pieces, owners


def run_on_pages(
    run: Callable[[Any, list[tuple[int, int, int]]], Any],
    states: Sequence[Rows],
    size: int,
    constant: frozenset[str | None],
    *,
    padded: bool,
) -> list[Rows]:
    """Run something on the rows of states, page by page; the rows that come out for each state.

    Args:
        run: Takes a page, and which rows of which state are on it; gives as many rows.
        states: The rows of each state.
        size: How many rows a page has at most.
        constant: Names of what has no rows and is one for all.
        padded: Whether each page has exactly so many rows.
    """
    made: list[Rows] = [[] for _ in states]
    for pieces, owners in filled_pages(states, size):
        page = run(joined_rows(pieces, constant, size if padded else 0), owners)
        start = 0
        for number, first, last in owners:
            made[number].append(Piece(page, start, start + last - first))
            start += last - first
    return [list(_merged(rows)) for rows in made]


def _merged(pieces: Sequence[Piece]) -> Iterator[Piece]:
    """The same rows, those that follow each other on one page as one piece."""
    last: Piece | None = None
    for piece in pieces:
        if last is not None and last.page is piece.page and last.stop == piece.start:
            last = Piece(last.page, last.start, piece.stop)
            continue
        if last is not None:
            yield last
        last = piece
    if last is not None:
        yield last


def whole_tensor(rows: Rows) -> Tensor:
    """The rows of a tensor in one piece."""
    parts = [page[start:stop] for page, start, stop in rows]
    return parts[0] if len(parts) == 1 else torch.cat(parts)
