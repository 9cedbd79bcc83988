"""Spans whose middle block runs in place of all."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ensembles.lesions.base import Words
from ensembles.lesions.block_span import BlockSpan
from ensembles.lesions.steps import Program

__all__ = ["Middle"]


@dataclass(frozen=True)
class Middle(BlockSpan):
    """Run what stands in the middle of a span in place of all (Sun et al. 2024, 2407.09298).

    "Middle repeat" in the paper. Of an even number of positions, the first of the two in the
    middle.

    >>> Middle((10, 20)).text
    '10-20'
    """

    kind: ClassVar[str] = "middle"
    summary: ClassVar[str] = "the block in the middle of a span runs in place of all"
    words: ClassVar[Words] = Words(
        "Span run by its middle", "Number of blocks run by the middle one", "run by the middle one"
    )

    def rewrite(self, program: Program) -> Program:
        """Put what stands in the middle at every place of the span."""
        length = len(self.blocks)
        return self.in_order(program, [(length - 1) // 2] * length)


MEMBER = Middle
