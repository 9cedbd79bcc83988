"""How far a lesion turns the answers, as a cosine between distributions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ensembles.metrics.base import Column, Mean

if TYPE_CHECKING:
    from torch import Tensor

    from ensembles.metrics.answers import Answers

__all__ = ["MEMBER", "Cosine"]


@dataclass(frozen=True)
class Cosine(Mean):
    """Mean cosine between the probabilities of an answer and the intact network's, 0 to 1.

    The mean over observations of p . q / (|p| |q|), p and q the softmax of both networks, as in
    Gavrikov et al. 2024 (arXiv 2410.14470). Needs no labels. Kept: the sum.
    """

    name = "cosine"
    summary = "cosine between the probabilities of the answer and the intact network's"
    columns = (Column("cosine", "number", "more", "Cosine with the intact probabilities"),)
    needs_intact = True

    def values(self, answers: Answers) -> Tensor:
        """Cosine of each observation, (N,)."""
        p = answers.probabilities.to(answers.wide)
        q = answers.reference.probabilities.to(answers.wide)
        return (p * q).sum(-1) / ((p * p).sum(-1) * (q * q).sum(-1)).sqrt()


MEMBER = Cosine()
