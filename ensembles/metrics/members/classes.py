"""Right answers of each class."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ensembles.metrics.base import Column, Metric, State

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from ensembles.metrics.answers import Answers

__all__ = ["MEMBER", "Classes"]


@dataclass(frozen=True)
class Classes(Metric):
    """Right answers of each class: ``class_correct``, a list of exact integers.

    They add up to ``correct``. Kept: right answers of each class, then observations of each class.
    """

    name = "classes"
    summary = "right answers of each class"
    columns = (Column("class_correct", "counts", "more", "Right answers of each class"),)

    def size(self, classes: int) -> int:
        """Two numbers a class."""
        return 2 * classes

    def measure(self, answers: Answers) -> Tensor:
        """Right answers of each class, then observations of each class: (2 classes,)."""
        import torch  # noqa: PLC0415 (what was measured is read without it)

        right = answers.counts(answers.target, answers.classes, answers.right)
        return torch.cat([right, answers.counts(answers.target, answers.classes)])

    def possible(
        self, states: State, finite: NDArray[np.int64], per_class: NDArray[np.int64]
    ) -> NDArray[np.bool_]:
        """No class has more right answers than observations, nor more of these than there are."""
        right, seen = np.hsplit(states, 2)
        sums: NDArray[np.bool_] = (
            (right >= 0).all(axis=1)
            & (states % 1 == 0).all(axis=1)
            & (right <= seen).all(axis=1)
            & (right.sum(axis=1) <= finite)
            & (seen <= per_class).all(axis=1)
            & (seen.sum(axis=1) >= finite)
        )
        return sums

    def row(self, state: State, total: int) -> dict[str, Any]:
        """Right answers of each class."""
        return {"class_correct": [int(count) for count in state[: len(state) // 2]]}


MEMBER = Classes()
