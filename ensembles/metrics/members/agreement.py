"""How often a lesion leaves the answer as it was."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ensembles.metrics.base import Column, Mean

if TYPE_CHECKING:
    from torch import Tensor

    from ensembles.metrics.answers import Answers

__all__ = ["MEMBER", "Agreement"]


@dataclass(frozen=True)
class Agreement(Mean):
    """Share of the observations with the intact network's answer, right or wrong.

    An answer is the class of the largest logit, of equal ones the first, as in ``top1``. Between 0
    and 1; needs no labels. Kept: how many there are, exactly.
    """

    name = "agreement"
    summary = "share of answers that are the intact network's"
    columns = (Column("agreement", "number", "more", "Agreement with the intact network"),)
    span = (0, 1)
    counted = True
    needs_intact = True

    def values(self, answers: Answers) -> Tensor:
        """Whether each answer is the intact network's, (N,)."""
        return answers.predicted == answers.reference.predicted

    def chance(self, classes: int) -> dict[str, float]:
        """A guess agrees with probability 1 / classes."""
        return {"agreement": 1 / classes}


MEMBER = Agreement()
