"""The logit of the right answer over parts of the data, for effects on it and their intervals."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ensembles.metrics.base import Column, Metric, State
from ensembles.metrics.members.folds import FOLDS, places_of

if TYPE_CHECKING:
    from torch import Tensor

    from ensembles.metrics.answers import Answers

__all__ = ["MEMBER", "LogitFolds"]


@dataclass(frozen=True)
class LogitFolds(Metric):
    """The centred logit of the right answer, of each of the 32 parts of the data of `folds`.

    The mean of all logits of an observation is taken off, since a number that is added to all of
    them changes no answer. Kept: of each part the sum.
    """

    name = "logit_folds"
    summary = "logit of the right answer, less the mean logit, of each of 32 parts of the data"
    columns = (
        Column("fold_logit", "numbers", "more", "Sum of the centred right logit of each part"),
    )

    def size(self, classes: int) -> int:
        """A number a part."""
        return FOLDS

    def measure(self, answers: Answers) -> Tensor:
        """What some observations add, (parts,)."""
        import torch  # noqa: PLC0415 (what was measured is read without it)

        right = answers.output.gather(-1, answers.target[:, None])[:, 0].to(answers.wide)
        values = right - answers.output.mean(-1, dtype=answers.wide)
        zero = torch.zeros(FOLDS, dtype=answers.wide, device=answers.output.device)
        places = places_of(answers, self.name)
        return zero.index_add_(0, places, torch.where(answers.finite, values, 0.0))

    def row(self, state: State, total: int) -> dict[str, Any]:
        """Sums, part by part."""
        return {"fold_logit": np.asarray(state)}


MEMBER = LogitFolds()
