"""Lesions as frozen values: which blocks, and what then runs at each position."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal, NamedTuple, get_args

from scipy.stats import kendalltau

from ensembles.errors import LesionError, nearest

Kind = Literal["none", "delete", "reorder", "duplicate"]
KINDS: tuple[Kind, ...] = get_args(Kind)


class Visit(NamedTuple):
    """One run of one block: whole, or (``keep_branch=False``) only its shortcut."""

    block: int
    keep_branch: bool = True


Program = tuple[tuple[Visit, ...], ...]


@dataclass(frozen=True)
class Lesion:
    """A change to the blocks of a network.

    Attributes:
        kind: ``none`` (the intact network), ``delete`` (drop the branch, keep the shortcut),
            ``duplicate`` (run the block twice in a row) or ``reorder`` (exchange blocks).
        blocks: Numbers of the deleted or duplicated blocks, from 1; kept sorted.
        swaps: For ``reorder``, pairs of positions whose blocks are exchanged, one pair after
            the other.
        trial: Number of the random draw, from 0; None where nothing was drawn.
        seed: Seed of the random draw; None where nothing was drawn.

    Raises:
        LesionError: An unknown kind, no blocks, a block below 1 or named twice, or a swap of
            a block with itself.

    >>> Lesion("delete", (17, 3)).text
    '3 17'
    """

    kind: Kind
    blocks: tuple[int, ...] = ()
    swaps: tuple[tuple[int, int], ...] = ()
    trial: int | None = None
    seed: int | None = None

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise unknown_kind(self.kind)
        object.__setattr__(self, "blocks", tuple(sorted(self.blocks)))
        object.__setattr__(self, "swaps", tuple((a, b) for a, b in self.swaps))
        expected = {"none": (False, False), "reorder": (False, True)}.get(self.kind, (True, False))
        if (bool(self.blocks), bool(self.swaps)) != expected:
            needs = {
                "none": "names no blocks",
                "reorder": "needs one swap or more, such as 3-17, and no other blocks",
            }
            raise LesionError(
                f"lesion {self.kind!r} {needs.get(self.kind, 'needs one block or more, no swaps')}"
            )
        refuse_repeats(self.kind, self.blocks)
        for a, b in self.swaps:
            if a == b:
                raise LesionError(f"swap {a}-{b} exchanges a block with itself: name two blocks")
        for block in self._named():
            if block < 1:
                raise LesionError(f"block {block}: blocks are numbered from 1")

    def _named(self) -> Iterator[int]:
        yield from self.blocks
        for pair in self.swaps:
            yield from pair

    @property
    def count(self) -> int:
        """How many blocks are deleted or duplicated, or how many swaps are made."""
        return len(self.blocks) + len(self.swaps)

    @property
    def text(self) -> str:
        """The blocks as in result tables: ``"3 17"``, ``"3-17 20-25"``, or an empty string."""
        return " ".join([*map(str, self.blocks), *(f"{a}-{b}" for a, b in self.swaps)])

    def require(self, n: int) -> None:
        """Hold the lesion against a network of ``n`` blocks.

        Raises:
            LesionError: The lesion names a block that the network does not have.
        """
        for block in self._named():
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
        order = self.order(n)
        if self.kind == "none":
            return 1.0
        if self.kind != "reorder":
            return float("nan")
        return float(kendalltau(range(n), order).statistic)

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
        return tuple(
            (Visit(block, block not in deleted),) * (2 if block in doubled else 1)
            for block in order
        )


def require_block(block: int, n: int) -> None:
    """Refuse a number that is none of the blocks 1 to ``n``."""
    if not 1 <= block <= n:
        raise LesionError(f"block {block}: the network has blocks 1 to {n}")


def refuse_repeats(what: str, blocks: Sequence[int]) -> None:
    """Take sorted numbers and refuse a repeated one."""
    for block, following in pairwise(blocks):
        if block == following:
            raise LesionError(f"{what}: block {block} is named twice; name each block once")


def unknown_kind(kind: str) -> LesionError:
    """The error for a kind of lesion that there is not."""
    return LesionError(
        f"lesion {kind!r} is unknown: expected {', '.join(KINDS)}{nearest(kind, KINDS)}"
    )
