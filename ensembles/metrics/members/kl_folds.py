"""Divergence from the intact network over parts of the data, for intervals."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ensembles.metrics.base import Column, Metric, State
from ensembles.metrics.members.folds import FOLDS, places_of
from ensembles.metrics.members.kl import Divergence

if TYPE_CHECKING:
    from torch import Tensor

    from ensembles.metrics.answers import Answers

__all__ = ["MEMBER", "DivergenceFolds"]


@dataclass(frozen=True)
class DivergenceFolds(Metric):
    """The divergence of the metric `kl`, of each of the 32 parts of the data of `folds`.

    Kept: of each part the sum.
    """

    name = "kl_folds"
    summary = "divergence of each of 32 parts of the data"
    columns = (
        Column("fold_kl", "numbers", "less", "Sum of KL(intact || lesioned) of each part (nats)"),
    )
    span = (0, math.inf)
    needs_intact = True

    def size(self, classes: int) -> int:
        """A number a part."""
        return FOLDS

    def measure(self, answers: Answers) -> Tensor:
        """What some observations add, (parts,)."""
        import torch  # noqa: PLC0415 (what was measured is read without it)

        values = torch.where(answers.finite, Divergence().values(answers).to(answers.wide), 0.0)
        zero = torch.zeros(FOLDS, dtype=answers.wide, device=answers.output.device)
        return zero.index_add_(0, places_of(answers, self.name), values)

    def row(self, state: State, total: int) -> dict[str, Any]:
        """Sums, part by part."""
        return {"fold_kl": np.asarray(state)}


MEMBER = DivergenceFolds()
