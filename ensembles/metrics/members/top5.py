"""How often the right class is among the first five."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ensembles.metrics.base import Column, Mean

if TYPE_CHECKING:
    from torch import Tensor

    from ensembles.metrics.answers import Answers

__all__ = ["MEMBER", "Top5"]

_FIRST = 5


@dataclass(frozen=True)
class Top5(Mean):
    """Share of the observations whose right class has one of the five largest logits.

    Of equal logits, that of the lower class number comes first, as in ``top1``. With fewer than
    five classes every answer counts. Between 0 and 1; kept: how many there are, exactly.
    """

    name = "top5"
    summary = "share of answers with the right class among the first five"
    columns = (Column("top5", "number", "more", "Top-5 accuracy"),)
    span = (0, 1)
    counted = True

    def values(self, answers: Answers) -> Tensor:
        """Whether the right class is among the first five, (N,)."""
        return answers.ranks < _FIRST

    def chance(self, classes: int) -> dict[str, float]:
        """Five of the classes."""
        return {"top5": min(_FIRST, classes) / classes}


MEMBER = Top5()
