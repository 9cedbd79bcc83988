"""Lesions as frozen values: which blocks, and what then runs at each position."""

from __future__ import annotations

from bisect import bisect, insort
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain, pairwise
from typing import Literal, NamedTuple, get_args

from ensembles.errors import LesionError, nearest

Kind = Literal["none", "delete", "reorder", "duplicate", "drop"]
KINDS: tuple[Kind, ...] = get_args(Kind)


class Visit(NamedTuple):
    """One run of one block: whole, (``keep_branch=False``) only its shortcut, or without roads."""

    block: int
    keep_branch: bool = True
    dropped: tuple[int, ...] = ()


Program = tuple[tuple[Visit, ...], ...]


# Whether blocks, swaps and roads are named.
_WANTED = {
    "none": (False, False, False),
    "reorder": (False, True, False),
    "drop": (False, False, True),
}


@dataclass(frozen=True)
class Lesion:
    """A change to the blocks of a network.

    Attributes:
        kind: ``none`` (the intact network), ``delete`` (drop the branch, keep the shortcut),
            ``duplicate`` (run the block twice in a row), ``reorder`` (exchange blocks) or ``drop``
            (leave out some of the roads that meet at the end of a block).
        blocks: Numbers of the deleted or duplicated blocks, from 1; kept sorted.
        swaps: For ``reorder``, pairs of positions whose blocks are exchanged, one pair after
            the other.
        trial: Number of the random draw, from 0; None where nothing was drawn.
        seed: Seed of the random draw; None where nothing was drawn.
        roads: For ``drop``, pairs of a block and the number of one of its roads, from 1; kept
            sorted.

    Raises:
        LesionError: An unknown kind, no blocks, a block below 1 or named twice, or a swap of
            a block with itself.

    >>> Lesion("delete", (17, 3)).text
    '3 17'
    >>> Lesion("drop", roads=((3, 2),)).text
    '3.2'
    """

    kind: Kind
    blocks: tuple[int, ...] = ()
    swaps: tuple[tuple[int, int], ...] = ()
    trial: int | None = None
    seed: int | None = None
    roads: tuple[tuple[int, int], ...] = ()

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise unknown_kind(self.kind)
        object.__setattr__(self, "blocks", tuple(sorted(self.blocks)))
        object.__setattr__(self, "swaps", tuple([(a, b) for a, b in self.swaps]))
        object.__setattr__(self, "roads", tuple(sorted([(a, b) for a, b in self.roads])))
        wanted = _WANTED.get(self.kind, (True, False, False))
        if (bool(self.blocks), bool(self.swaps), bool(self.roads)) != wanted:
            needs = {
                "none": "names no blocks",
                "reorder": "needs one swap or more, such as 3-17, and no other blocks",
                "drop": "needs one road or more, such as 3.2, and no whole blocks",
            }
            raise LesionError(
                f"lesion {self.kind!r} {needs.get(self.kind, 'needs one block or more, no swaps')}"
            )
        refuse_repeats(self.kind, self.blocks)
        for a, b in self.swaps:
            if a == b:
                raise LesionError(f"swap {a}-{b} exchanges a block with itself: name two blocks")
        for one, following in pairwise(self.roads):
            if one == following:
                raise LesionError(f"drop: road {one[0]}.{one[1]} is named twice; name it once")
        if self.kind != "none" and (lowest := min(self._named())) < 1:
            raise LesionError(f"block {lowest}: blocks are numbered from 1")

    def _named(self) -> Iterator[int]:
        swapped = chain.from_iterable(self.swaps)
        return chain(self.blocks, swapped, (block for block, _ in self.roads))

    @property
    def count(self) -> int:
        """How many blocks are deleted or duplicated, swaps made, or roads dropped."""
        return len(self.blocks) + len(self.swaps) + len(self.roads)

    @property
    def dropped(self) -> dict[int, tuple[int, ...]]:
        """The roads that are left out of each block that loses any."""
        return {
            block: tuple(road for other, road in self.roads if other == block)
            for block, _ in self.roads
        }

    @cached_property
    def text(self) -> str:
        """The blocks as in result tables: ``"3 17"``, ``"3-17 20-25"``, ``"3.2"``, or ``""``."""
        swaps, roads = (f"{a}-{b}" for a, b in self.swaps), (f"{a}.{b}" for a, b in self.roads)
        return " ".join([*map(str, self.blocks), *swaps, *roads])

    def require(self, n: int) -> None:
        """Hold the lesion against a network of ``n`` blocks.

        Raises:
            LesionError: The lesion names a block that the network does not have.
        """
        for block in (min(self._named(), default=1), max(self._named(), default=1)):
            require_block(block, n)

    def order(self, n: int) -> tuple[int, ...]:
        """Numbers of the blocks that stand at positions 1 to ``n``.

        Raises:
            LesionError: The lesion names a block that the network does not have.
        """
        self.require(n)
        order = list(range(1, n + 1))
        for a, b in self.swaps:
            order[a - 1], order[b - 1] = order[b - 1], order[a - 1]
        return tuple(order)

    def kendall_tau(self, n: int) -> float:
        """Kendall rank correlation of the order of the blocks with the intact order.

        Args:
            n: Number of blocks of the network.

        Returns:
            1 for the intact network, -1 to 1 for a reordering, NaN for other lesions.

        Raises:
            LesionError: The lesion names a block that the network does not have.
        """
        if self.kind != "reorder":
            self.require(n)
            return 1.0 if self.kind == "none" else float("nan")
        return 1 - 4 * _inversions(self.order(n)) / (n * (n - 1))

    def program(self, n: int) -> Program:
        """What runs at each of the ``n`` positions, in order.

        Args:
            n: Number of blocks of the network.

        Returns:
            For every position its visits, mostly one: ``((Visit(1, True),), ...)``.

        Raises:
            LesionError: The lesion names a block that the network does not have.
        """
        order, named = self.order(n), frozenset(self.blocks)
        deleted = named if self.kind == "delete" else frozenset()
        doubled = named if self.kind == "duplicate" else frozenset()
        dropped = self.dropped
        return tuple(
            (Visit(block, block not in deleted, dropped.get(block, ())),)
            * (2 if block in doubled else 1)
            for block in order
        )


def _inversions(order: Sequence[int]) -> int:
    """How many pairs stand the wrong way round."""
    later: list[int] = []
    found = 0
    for block in reversed(order):
        found += bisect(later, block)
        insort(later, block)
    return found


def require_block(block: int, n: int) -> None:
    """Refuse a number that is none of the blocks 1 to ``n``."""
    if not 1 <= block <= n:
        raise LesionError(f"block {block}: the network has blocks 1 to {n}")


def require_roads(block: int, roads: Sequence[int]) -> None:
    """Refuse a block that has no roads to drop one of, given how many each has."""
    if not roads[block - 1]:
        raise LesionError(
            f"block {block} has no roads to drop one of: drop takes blocks where several roads "
            "meet; delete the block"
        )


def refuse_repeats(what: str, blocks: Sequence[int]) -> None:
    """Take sorted numbers and refuse a repeated one."""
    if len(set(blocks)) == len(blocks):
        return
    for block, following in pairwise(blocks):
        if block == following:
            raise LesionError(f"{what}: block {block} is named twice; name each block once")


def unknown_kind(kind: str) -> LesionError:
    """The error for a kind of lesion that there is not."""
    return LesionError(
        f"lesion {kind!r} is unknown: expected {', '.join(KINDS)}{nearest(kind, KINDS)}"
    )
