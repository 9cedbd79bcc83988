"""Spans that run in reverse order."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ensembles.lesions.base import Words
from ensembles.lesions.block_span import BlockSpan
from ensembles.lesions.steps import Program

__all__ = ["Reverse"]


@dataclass(frozen=True)
class Reverse(BlockSpan):
    """Run a span in reverse order (Sun et al. 2024, "Transformer Layers as Painters", 2407.09298).

    >>> Reverse((10, 20)).text
    '10-20'
    """

    kind: ClassVar[str] = "reverse"
    summary: ClassVar[str] = "a span of blocks runs in reverse order"
    words: ClassVar[Words] = Words("Reversed blocks", "Number of blocks reversed", "reversed")

    def rewrite(self, program: Program) -> Program:
        """Turn the span round."""
        return self.in_order(program, range(len(self.blocks) - 1, -1, -1))


MEMBER = Reverse
