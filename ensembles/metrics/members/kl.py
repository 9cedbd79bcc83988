"""How far a lesion moves the answers, as a divergence between distributions."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ensembles.metrics.base import Column, Mean

if TYPE_CHECKING:
    from torch import Tensor

    from ensembles.metrics.answers import Answers

__all__ = ["MEMBER", "Divergence"]


@dataclass(frozen=True)
class Divergence(Mean):
    """Mean divergence of Kullback and Leibler of the answers from the intact network's, in nats.

    The mean over observations of KL(p || p') = sum over classes of p (log p - log p'), with p the
    softmax of the intact network and p' that of the lesioned one; 0 or more. It is added up as the
    terms p' - p - p (log p' - log p), none of which is negative and whose first parts add to zero,
    so that rounding makes no small divergence negative. Needs no labels. Kept: the sum.
    """

    name = "kl"
    summary = "divergence of the answers from the intact network's, in nats"
    columns = (Column("kl", "number", "less", "KL(intact || lesioned) (nats)"),)
    span = (0, math.inf)
    needs_intact = True

    def values(self, answers: Answers) -> Tensor:
        """Divergence of each observation, (N,)."""
        import torch  # noqa: PLC0415 (what was measured is read without it)

        p, q = answers.reference.probabilities, answers.probabilities
        rise = answers.log_probabilities - answers.reference.log_probabilities
        terms = torch.where(rise < 1, p * (torch.expm1(rise) - rise), q - p - p * rise)
        return torch.where(p > 0, terms, q).sum(-1)


MEMBER = Divergence()
