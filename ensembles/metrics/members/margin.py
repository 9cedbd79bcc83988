"""By how much the right class wins."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ensembles.errors import UsageError
from ensembles.metrics.base import Column, Mean

if TYPE_CHECKING:
    from torch import Tensor

    from ensembles.metrics.answers import Answers

__all__ = ["MEMBER", "Margin"]


@dataclass(frozen=True)
class Margin(Mean):
    """Mean margin: the logit of the right class less the largest logit of the other classes.

    In units of the logits, positive where the answer is right; unlike the error it does not
    saturate. Kept: the sum.
    """

    name = "margin"
    summary = "logit of the right class less the largest other one"
    columns = (Column("margin", "number", "more", "Margin (logits)"),)

    def size(self, classes: int) -> int:
        """One number.

        Raises:
            UsageError: If there is one class only.
        """
        if classes < 2:
            raise UsageError(
                f"metric 'margin' compares the right class with another one, and the network has "
                f"{classes}; leave it out"
            )
        return super().size(classes)

    def values(self, answers: Answers) -> Tensor:
        """Margin of each observation, (N,)."""
        place = answers.target[:, None]
        others = answers.output.scatter(-1, place, float("-inf")).amax(-1)
        right = answers.output.gather(-1, place)[:, 0]
        return right.to(answers.wide) - others

    def chance(self, classes: int) -> dict[str, float]:
        """No class stands out."""
        return {"margin": 0.0}


MEMBER = Margin()
