"""Between how many tokens a language model seems to choose."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ensembles.metrics.base import Column, Mean, State

if TYPE_CHECKING:
    from torch import Tensor

    from ensembles.metrics.answers import Answers

__all__ = ["MEMBER", "Perplexity"]


@dataclass(frozen=True)
class Perplexity(Mean):
    """Perplexity: exp of the mean cross-entropy of a token in nats; 1 or more.

    Infinite where the mean passes what a float64 can hold the exponential of. Kept: the sum of the
    cross-entropies.
    """

    name = "perplexity"
    summary = "exp of the mean loss of a token"
    columns = (Column("perplexity", "number", "less", "Perplexity"),)
    span = (0, math.inf)
    tasks = ("language", "masked")

    def values(self, answers: Answers) -> Tensor:
        """Cross-entropy of each token, (N,)."""
        return answers.losses

    def row(self, state: State, total: int) -> dict[str, Any]:
        """The exponential of the mean cross-entropy."""
        try:
            return {"perplexity": math.exp(float(state[0]) / total)}
        except OverflowError:
            return {"perplexity": math.inf}

    def chance(self, classes: int) -> dict[str, float]:
        """The number of classes."""
        return {"perplexity": float(classes)}


MEMBER = Perplexity()
