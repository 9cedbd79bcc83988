"""The loss that classifiers and language models are trained with."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ensembles.metrics.base import Column, Mean

if TYPE_CHECKING:
    from torch import Tensor

    from ensembles.metrics.answers import Answers

__all__ = ["MEMBER", "Loss"]


@dataclass(frozen=True)
class Loss(Mean):
    """Mean cross-entropy: the mean over observations of -log p(y), in nats.

    p is the softmax of the logits, y the right class; 0 or more. Kept: the sum.
    """

    name = "loss"
    summary = "mean cross-entropy, in nats"
    columns = (Column("loss", "number", "less", "Cross-entropy (nats)"),)
    span = (0, math.inf)

    def values(self, answers: Answers) -> Tensor:
        """Cross-entropy of each observation, (N,)."""
        return answers.losses

    def chance(self, classes: int) -> dict[str, float]:
        """The logarithm of the number of classes."""
        return {"loss": math.log(classes)}


MEMBER = Loss()
