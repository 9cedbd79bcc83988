"""Blocks that lose some of the branches that meet in them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any, ClassVar

from ensembles.errors import LesionError
from ensembles.lesions.base import Lesion, Words
from ensembles.lesions.draws import random_roads
from ensembles.lesions.occurrences import Alone, at_every_block, refused
from ensembles.lesions.steps import Bypass, Program, Step, Variant, Without
from ensembles.lesions.structure import Structure
from ensembles.lesions.tokens import PAIR, whole
from ensembles.lesions.version_1 import DrawnSeed

if TYPE_CHECKING:
    from typing_extensions import Self

    from ensembles.lesions.choice import Choice

__all__ = ["Drop", "every_road"]


@dataclass(frozen=True)
class Drop(DrawnSeed, Lesion):
    """Leave out some of the branches that meet in a block (drop-path, Larsson et al. 2016).

    They then add zero; where branches are averaged, they leave the mean to the others.

    Attributes:
        roads: Pairs of a block and the number of one of its branches, from 1; kept sorted.

    Raises:
        LesionError: No pairs, a number below 1, or a pair that is named twice.

    >>> Drop(((3, 2),)).text
    '3.2'
    """

    roads: tuple[tuple[int, int], ...]

    kind: ClassVar[str] = "drop"
    summary: ClassVar[str] = "a block loses one of the branches that meet in it"
    words: ClassVar[Words] = Words(
        "Block, and its dropped branch from left to right", "Number of dropped branches", "dropped"
    )

    def __post_init__(self) -> None:
        object.__setattr__(self, "roads", _pairs(self.roads))
        if not self.roads:
            raise LesionError(
                "lesion 'drop' needs one branch or more, such as 3.2, and no whole blocks"
            )
        for one, following in pairwise(self.roads):
            if one == following:
                raise LesionError(f"drop: branch {one[0]}.{one[1]} is named twice; name it once")
        if self.roads[0][0] < 1:
            raise LesionError(f"block {self.roads[0][0]}: blocks are numbered from 1")

    @property
    def text(self) -> str:
        """The pairs, as ``"3.2 5.1"``."""
        return " ".join(f"{block}.{road}" for block, road in self.roads)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read :attr:`text` back."""
        roads = []
        for word in text.split():
            match = PAIR.fullmatch(word)
            if match is None:
                raise LesionError(f"blocks {word!r}: drop expects branches such as 3.2 5.1")
            roads.append((int(match.group(1)), int(match.group(2))))
        return cls(tuple(roads))

    @property
    def blocks(self) -> tuple[int, ...]:
        """The blocks that lose branches, each once."""
        return tuple(sorted({block for block, _ in self.roads}))

    @property
    def count(self) -> int:
        """How many branches are dropped."""
        return len(self.roads)

    @property
    def dropped(self) -> dict[int, tuple[int, ...]]:
        """The branches that each block loses."""
        return {
            block: tuple(road for other, road in self.roads if other == block)
            for block in self.blocks
        }

    def described(self, names: Sequence[str]) -> str:
        """The module of each block, and the number of the branch."""
        return " ".join(f"{names[block - 1]}/{road}" for block, road in self.roads)

    def check(self, structure: Structure) -> None:
        """Refuse branches that there are not, and to take a block all of its own."""
        for block, roads in self.dropped.items():
            structure.require_roads(block, roads)

    def rewrite(self, program: Program) -> Program:
        """Run the blocks without these branches."""
        return at_every_block(self, program, self._without)

    def _without(self, step: Alone) -> tuple[Step, ...]:
        roads = self.dropped[step.block]
        if isinstance(step, Bypass):
            raise refused(self, step.block, "it is deleted, so that it has no branches to lose")
        if isinstance(step, Variant):
            raise refused(
                self, step.block,
                f"it was changed before ({step.recipes[-1].text}); lesion it in one way or the "
                "other",
            )  # fmt: skip
        if isinstance(step, Without):
            twice = set(roads) & set(step.roads)
            if twice:
                raise refused(self, step.block, f"branch {min(twice)} is dropped already")
            roads = tuple(sorted({*roads, *step.roads}))
        return (Without(step.block, roads),)

    @classmethod
    def sweep(cls, structure: Structure, choice: Choice) -> list[Lesion]:
        """Every branch by itself, or random sets of branches; no block loses all of its own."""
        pool = _pool(structure, choice)
        if not choice.several:
            return [cls((road,)) for road in pool]
        return [
            cls(roads, draw=draw)
            for draw, roads in random_roads(
                cls.kind, pool, structure.roads, choice.sizes, choice.draws, choice.seed
            )
        ]


def every_road(roads: Sequence[int], blocks: Iterable[int]) -> list[tuple[int, int]]:
    """All branches of some blocks, as pairs of a block and a number.

    Args:
        roads: How many branches meet in each block of the network; 0 for none.
        blocks: The blocks.

    Raises:
        LesionError: If there is none.
    """
    pool = [(block, road) for block in blocks for road in range(1, roads[block - 1] + 1)]
    if not pool:
        raise LesionError(
            "no block has several branches: drop takes blocks where several branches meet, as in "
            "Inception or FractalNet; delete whole blocks"
        )
    return pool


def _pool(structure: Structure, choice: Choice) -> list[tuple[int, int]]:
    """The branches that a choice leaves to drop."""
    if choice.roads is None:
        blocks = choice.chosen(structure)
        for block in choice.blocks or ():
            structure.require_roads(block)
        return every_road(structure.roads, blocks)
    found: set[tuple[int, int]] = set()
    for one in choice.roads:
        block, roads = (one, ()) if isinstance(one, int) else (one[0], (one[1],))
        structure.require_roads(block, roads)
        found |= {(block, road) for road in roads or range(1, structure.form(block).roads + 1)}
    skipped = structure.transitions if choice.skip_transitions else ()
    return sorted(road for road in found if road[0] not in skipped)


def _pairs(roads: Iterable[Any]) -> tuple[tuple[int, int], ...]:
    try:
        return tuple(sorted((whole("drop: block", a), whole("branch", b, 1)) for a, b in roads))
    except (TypeError, ValueError):
        raise LesionError(f"branches {roads!r}: expected pairs such as ((3, 2),)") from None


MEMBER = Drop
