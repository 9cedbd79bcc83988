"""How many of the likeliest answers stay among them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ensembles.metrics.base import Column, Mean

if TYPE_CHECKING:
    from torch import Tensor

    from ensembles.metrics.answers import Answers

__all__ = ["MEMBER", "Overlap"]

_FIRST = 5


@dataclass(frozen=True)
class Overlap(Mean):
    """Mean share of the intact network's five largest logits that are among the five largest.

    Between 0 and 1; with five classes or fewer it is 1. Needs no labels. Kept: the sum. Source:
    Csordas, Manning and Potts 2025 (arXiv 2505.13898).
    """

    name = "overlap"
    summary = "share of the five likeliest answers that stay among them"
    columns = (Column("overlap", "number", "more", "Overlap of the five likeliest answers"),)
    span = (0, 1)
    needs_intact = True

    def values(self, answers: Answers) -> Tensor:
        """The share of each observation, (N,)."""
        count = min(_FIRST, answers.classes)
        first = answers.output.topk(count, -1).indices
        other = answers.reference.output.topk(count, -1).indices
        found: Tensor = (first[:, :, None] == other[:, None, :]).any(-1).to(answers.wide).mean(-1)
        return found

    def chance(self, classes: int) -> dict[str, float]:
        """Five of the classes."""
        return {"overlap": min(_FIRST, classes) / classes}


MEMBER = Overlap()
