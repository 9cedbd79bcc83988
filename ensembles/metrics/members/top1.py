"""How many answers are right."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ensembles.metrics.base import Column, Metric, State

if TYPE_CHECKING:
    from torch import Tensor

    from ensembles.metrics.answers import Answers

__all__ = ["MEMBER", "Top1"]


@dataclass(frozen=True)
class Top1(Metric):
    """Right answers, and the share of wrong ones.

    An answer is the class of the largest logit; of several that are equally large, the first. With
    c right answers of N, ``correct`` is c, an exact integer, and ``error`` is (N - c) / N, between
    0 and 1. Kept: c.
    """

    name = "top1"
    summary = "right answers, and the share of wrong ones"
    columns = (
        Column("correct", "integer", "more", "Right answers"),
        Column("error", "number", "less", "Top-1 error"),
    )
    span = (0, 1)
    counted = True

    def size(self, classes: int) -> int:
        """One number."""
        return 1

    def measure(self, answers: Answers) -> Tensor:
        """How many answers are right, (1,)."""
        return answers.total(answers.right)

    def row(self, state: State, total: int) -> dict[str, Any]:
        """The number of right answers, and the share of wrong ones."""
        correct = int(state[0])
        return {"correct": correct, "error": (total - correct) / total}

    def chance(self, classes: int) -> dict[str, float]:
        """A guess is wrong with probability 1 - 1 / classes."""
        return {"error": 1 - 1 / classes}


MEMBER = Top1()
