"""Which classes are taken for which."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ensembles.errors import UsageError
from ensembles.metrics.base import Column, Metric, State

if TYPE_CHECKING:
    from numpy.typing import NDArray
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

    def possible(
        self, states: State, finite: NDArray[np.int64], per_class: NDArray[np.int64]
    ) -> NDArray[np.bool_]:
        """Every observation has one answer."""
        whole = (states >= 0).all(axis=1) & (states % 1 == 0).all(axis=1)
        answered = states.reshape(len(states), len(per_class), len(per_class)).sum(axis=2)
        sums: NDArray[np.bool_] = (
            whole & (answered <= per_class).all(axis=1) & (states.sum(axis=1) == finite)
        )
        return sums

    def row(self, state: State, total: int) -> dict[str, Any]:
        """The matrix, as a list of rows."""
        classes = math.isqrt(len(state))
        return {"confusion": state.reshape(classes, classes).astype(int).tolist()}


MEMBER = Confusion()
