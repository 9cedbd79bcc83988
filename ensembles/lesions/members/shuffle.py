"""Spans that run in a random order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from ensembles.lesions.base import Words, setting
from ensembles.lesions.block_span import BlockSpan
from ensembles.lesions.draws import random_order
from ensembles.lesions.steps import Program
from ensembles.lesions.tokens import SEED, Mark, seed_number

__all__ = ["Shuffle"]


@dataclass(frozen=True)
class Shuffle(BlockSpan):
    """Run a span in random order (Sun et al. 2024, "Transformer Layers as Painters", 2407.09298).

    Every order but the intact one is as likely as any other, and depends on span and seed alone.

    Attributes:
        seed: Seed of the order.

    >>> Shuffle((10, 20), seed=3).text
    '10-20 seed3'
    """

    seed: int = setting("Seed of the order.", 0)

    kind: ClassVar[str] = "shuffle"
    summary: ClassVar[str] = "a span of blocks runs in random order"
    words: ClassVar[Words] = Words("Shuffled blocks", "Number of blocks shuffled", "shuffled")
    example: ClassVar[str] = "a span and a seed such as 10-20 seed3"
    forms: ClassVar[Sequence[Mark]] = (SEED,)

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "seed", seed_number(self.kind, self.seed))

    @property
    def marks(self) -> tuple[str, ...]:
        """The seed."""
        return (f"seed{self.seed}",)

    def rewrite(self, program: Program) -> Program:
        """Put the span into its random order."""
        order = random_order(len(self.blocks), self.kind, self.seed, *self.span)
        return self.in_order(program, order)


MEMBER = Shuffle
