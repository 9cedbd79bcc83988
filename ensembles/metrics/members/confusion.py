"""Which classes are taken for which."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ensembles.errors import UsageError
from ensembles.metrics.base import Column, Metric, State

if TYPE_CHECKING:
    from torch import Tensor

    from ensembles.metrics.answers import Answers

__all__ = ["MEMBER", "Confusion"]

_MOST_CLASSES = 2000


@dataclass(frozen=True)
class Confusion(Metric):
    """Confusion matrix: how many observations of each class got each answer, as exact integers.

    ``confusion`` is a list of rows: rows are the right classes, columns the answers. Its diagonal
    is ``class_correct``. Kept: its entries, row by row; at most 2,000 classes.
    """

    name = "confusion"
    summary = "how many observations of each class got each answer"
    columns = (Column("confusion", "counts", None, "Answers of each class"),)

    def size(self, classes: int) -> int:
        """A number for each pair of classes.

        Raises:
            UsageError: If there are more than 2,000 classes.
        """
        if classes > _MOST_CLASSES:
            raise UsageError(
                f"metric 'confusion' would keep {classes:,} x {classes:,} counts for each lesion; "
                f"it is for at most {_MOST_CLASSES:,} classes: use 'classes' for the right answers "
                "of each class"
            )
        return classes**2

    def measure(self, answers: Answers) -> Tensor:
        """Observations of each pair of right class and answer, (classes^2,)."""
        places = answers.target * answers.classes + answers.predicted
        return answers.counts(places, answers.classes**2)

    def row(self, state: State, total: int) -> dict[str, Any]:
        """The matrix, as a list of rows."""
        classes = math.isqrt(len(state))
        return {"confusion": state.reshape(classes, classes).astype(int).tolist()}


MEMBER = Confusion()
