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

_SMALL = 0.02  # below, three terms of the series are exact to rounding


@dataclass(frozen=True)
class Divergence(Mean):
    """Mean divergence of Kullback and Leibler of the answers from the intact network's, in nats.

    The mean over observations of KL(p || p') = sum over classes of p (log p - log p'), with p the
    softmax of the intact network and p' that of the lesioned one; 0 or more. It is added up as the
    terms p' - p - p (log p' - log p), none of which is negative and whose first parts add to zero,
    so that rounding makes no small divergence negative. Where the logits hardly move, their
    differences give log p' - log p. Needs no labels. Kept: the sum.
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
        moved = answers.output - answers.reference.output  # exact where the two are alike
        near = (moved.abs() < 1).all(-1, keepdim=True)
        total = torch.log1p((p * torch.expm1(moved.clamp(-1, 1))).sum(-1, keepdim=True))
        rise = torch.where(near, moved - total, rise)
        small = rise.square() * (0.5 + rise * (1 / 6 + rise / 24))  # of expm1(rise) - rise
        excess = torch.where(rise.abs() < _SMALL, small, torch.expm1(rise) - rise)
        terms = torch.where(rise < 1, p * excess, q - p - p * rise)
        return torch.where(p > 0, terms, q).sum(-1)


MEMBER = Divergence()
