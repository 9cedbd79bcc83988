"""The loss that classifiers and language models are trained with."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ensembles.metrics.base import Column, Metric, State

if TYPE_CHECKING:
    from torch import Tensor

    from ensembles.metrics.answers import Answers

__all__ = ["LOSS", "Loss"]


@dataclass(frozen=True)
class Loss(Metric):
    """Mean cross-entropy: the mean over observations of -log p(y), in nats.

    p is the softmax of the logits, y the right class; 0 or more. Kept: the sum.
    """

    name = "loss"
    summary = "mean cross-entropy, in nats"
    columns = (Column("loss", "number", "less", "Cross-entropy (nats)"),)

    def size(self, classes: int) -> int:
        """One number."""
        return 1

    def measure(self, answers: Answers) -> Tensor:
        """Sum of the cross-entropies, (1,)."""
        return answers.total(answers.losses)

    def row(self, state: State, total: int) -> dict[str, Any]:
        """The mean cross-entropy."""
        return {"loss": float(state[0]) / total}

    def chance(self, classes: int) -> dict[str, float]:
        """The logarithm of the number of classes."""
        return {"loss": math.log(classes)}


LOSS = Loss()
