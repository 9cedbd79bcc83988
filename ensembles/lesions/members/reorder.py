"""Blocks that change places."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING, Any, ClassVar

from ensembles.errors import LesionError
from ensembles.lesions.base import Lesion, Words
from ensembles.lesions.draws import random_picks
from ensembles.lesions.steps import Program
from ensembles.lesions.structure import Structure, arrow
from ensembles.lesions.tokens import SPAN, whole
from ensembles.lesions.version_1 import DrawnSeed

if TYPE_CHECKING:
    from typing_extensions import Self

    from ensembles.lesions.choice import Choice

__all__ = ["Reorder"]


@dataclass(frozen=True)
class Reorder(DrawnSeed, Lesion):
    """Exchange what stands at pairs of positions, one pair after the other (Veit et al., 4.3).

    Attributes:
        swaps: Pairs of positions, in their order; a block may be exchanged more than once.

    Raises:
        LesionError: No pairs, a position below 1, or a pair of one position.

    >>> Reorder(((3, 17), (20, 25))).text
    '3-17 20-25'
    """

    swaps: tuple[tuple[int, int], ...]

    kind: ClassVar[str] = "reorder"
    summary: ClassVar[str] = "blocks of equal shape change places"
    words: ClassVar[Words] = Words("Exchanged blocks", "Number of swaps", "reordered")

    def __post_init__(self) -> None:
        object.__setattr__(self, "swaps", _pairs(self.swaps))
        if not self.swaps:
            raise LesionError(
                "lesion 'reorder' needs one swap or more, such as 3-17, and no other blocks"
            )
        for a, b in self.swaps:
            if min(a, b) < 1:
                raise LesionError(f"block {min(a, b)}: blocks are numbered from 1")
            if a == b:
                raise LesionError(f"swap {a}-{b} exchanges a block with itself: name two blocks")

    @property
    def text(self) -> str:
        """The pairs, as ``"3-17 20-25"``."""
        return " ".join(f"{a}-{b}" for a, b in self.swaps)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read :attr:`text` back."""
        swaps = []
        for word in text.split():
            match = SPAN.fullmatch(word)
            if match is None:
                raise LesionError(f"blocks {word!r}: reorder expects swaps such as 3-17 20-25")
            swaps.append((int(match.group(1)), int(match.group(2))))
        return cls(tuple(swaps))

    @property
    def blocks(self) -> tuple[int, ...]:
        """The positions of all pairs, each once."""
        return tuple(sorted({block for swap in self.swaps for block in swap}))

    @property
    def count(self) -> int:
        """How many pairs there are."""
        return len(self.swaps)

    def described(self, names: Sequence[str]) -> str:
        """The modules of each pair."""
        return " ".join(f"{names[a - 1]}-{names[b - 1]}" for a, b in self.swaps)

    def check(self, structure: Structure) -> None:
        """Refuse pairs of unequal shape, transitions and members of an average."""
        for a, b in self.swaps:
            one, other = structure.form(a), structure.form(b)
            for form in (one, other):
                if not form.ordered:
                    raise LesionError(
                        f"reorder of {self.text}: the blocks are members of an average, whose "
                        "order means nothing; delete or duplicate them"
                    )
                if form.transition:
                    raise LesionError(
                        f"swap {a}-{b}: block {form.index} is a transition ({arrow(form)}); "
                        "reorder exchanges blocks that are none"
                    )
            if (one.in_shape, one.out_shape) != (other.in_shape, other.out_shape):
                raise LesionError(
                    f"swap {a}-{b}: block {a} maps {arrow(one)}, block {b} {arrow(other)}; "
                    "reorder exchanges blocks of equal shape"
                )

    def rewrite(self, program: Program) -> Program:
        """Exchange what stands at the positions."""
        order = list(program)
        for a, b in self.swaps:
            order[a - 1], order[b - 1] = order[b - 1], order[a - 1]
        return tuple(order)

    @classmethod
    def is_random(cls, choice: Choice) -> bool:
        """Always: exchanges are drawn."""
        return True

    @classmethod
    def sweep(cls, structure: Structure, choice: Choice) -> list[Lesion]:
        """Random exchanges, every pair that can change places as likely as any other."""
        wanted = frozenset(choice.chosen(structure))
        if not any(form.ordered for form in structure.forms):
            cls(((1, 2),)).check(structure)
        groups = [[block for block in stage if block in wanted] for stage in structure.stages]
        return [
            cls(swaps, draw=draw)
            for draw, swaps in random_picks(
                cls.kind, exchanges(groups), choice.sizes, choice.draws, choice.seed
            )
        ]


def exchanges(groups: Iterable[Sequence[int]]) -> list[tuple[int, int]]:
    """All pairs of blocks that can change places.

    Args:
        groups: Blocks that may change places with each other.

    Raises:
        LesionError: If there is none.
    """
    pairs = [pair for group in groups for pair in combinations(group, 2)]
    if not pairs:
        raise LesionError(
            "no two blocks can change places: reorder needs two blocks of equal shape that are "
            "no transitions"
        )
    return pairs


def _pairs(swaps: Iterable[Any]) -> tuple[tuple[int, int], ...]:
    try:
        return tuple((whole("swap", a), whole("swap", b)) for a, b in swaps)
    except (TypeError, ValueError):
        raise LesionError(f"swaps {swaps!r}: expected pairs such as ((3, 17),)") from None


MEMBER = Reorder
