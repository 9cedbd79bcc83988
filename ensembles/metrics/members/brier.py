"""How far the probabilities are from the truth."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ensembles.metrics.base import Column, Mean

if TYPE_CHECKING:
    from torch import Tensor

    from ensembles.metrics.answers import Answers

__all__ = ["MEMBER", "Brier"]


@dataclass(frozen=True)
class Brier(Mean):
    """Brier score: the mean over observations of the sum over classes of (p_k - [k = y])^2.

    p is the softmax, y the right class (Brier, "Verification of forecasts expressed in terms of
    probability", Monthly Weather Review 78, 1950, equation 2). Between 0 and 2; kept: the sum.
    """

    name = "brier"
    summary = "squared distance of the probabilities from the truth"
    columns = (Column("brier", "number", "less", "Brier score"),)
    span = (0, 2)

    def values(self, answers: Answers) -> Tensor:
        """Score of each observation, (N,)."""
        place, p = answers.target[:, None], answers.probabilities
        distance = p.scatter(-1, place, p.gather(-1, place) - 1)
        return distance.square().sum(-1)

    def chance(self, classes: int) -> dict[str, float]:
        """Of equal probabilities."""
        return {"brier": 1 - 1 / classes}


MEMBER = Brier()
