"""Sums over parts of the data, from which intervals of any difference between lesions follow."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ensembles.errors import UsageError
from ensembles.metrics.base import Column, Metric, State

if TYPE_CHECKING:
    from torch import Tensor

    from ensembles.metrics.answers import Answers

__all__ = ["FOLDS", "MEMBER", "Folds", "places_of"]

FOLDS = 32
"""How many parts there are."""


@dataclass(frozen=True)
class Folds(Metric):
    """Observations, right answers and cross-entropy of each of 32 parts of the data.

    Row r of the data (an image, a window of a text) lies in part r mod 32, whatever the batches
    are, so that the parts of two lesions hold the same rows. A delete-one-part jackknife then gives
    paired intervals for what is made of several lesions
    (:func:`ensembles.statistics.jackknife`). Kept: of each part the observations whose logits are
    finite, the right ones, and the sum of the cross-entropies.
    """

    name = "folds"
    summary = "right answers and loss of each of 32 parts of the data"
    columns = (
        Column("fold_correct", "counts", "more", "Right answers in each part of the data"),
        Column("fold_total", "counts", None, "Observations in each part of the data"),
        Column("fold_loss", "numbers", "less", "Sum of the cross-entropy of each part (nats)"),
    )
    span = (0, math.inf)

    def size(self, classes: int) -> int:
        """Three numbers a part."""
        return 3 * FOLDS

    def measure(self, answers: Answers) -> Tensor:
        """What some observations add, (3 parts,)."""
        import torch  # noqa: PLC0415 (what was measured is read without it)

        at = places_of(answers, self.name)
        zero = torch.zeros(3, FOLDS, dtype=answers.wide, device=answers.output.device)
        zero[0].index_add_(0, at, answers.finite.to(answers.wide))
        zero[1].index_add_(0, at, answers.right.to(answers.wide))
        losses = torch.where(answers.finite, answers.losses.to(answers.wide), 0.0)
        zero[2].index_add_(0, at, losses)
        return zero.flatten()

    def row(self, state: State, total: int) -> dict[str, Any]:
        """Counts, and sums of losses, part by part."""
        seen, right, losses = np.asarray(state).reshape(3, -1)
        return {"fold_correct": right, "fold_total": seen, "fold_loss": losses}

    def possible(self, states: State, finite: Any, per_class: Any) -> Any:
        """Which states can have been kept: all observations are in a part, and right ones seen."""
        seen, right, losses = np.moveaxis(states.reshape(len(states), 3, -1), 1, 0)
        whole = (seen % 1 == 0).all(1) & (right % 1 == 0).all(1) & (seen.sum(1) == finite)
        return np.asarray(
            whole & (right <= seen).all(1) & (right >= 0).all(1) & (losses >= 0).all(1)
        )


def places_of(answers: Answers, name: str) -> Tensor:
    """The part that each observation lies in, int64 (N,).

    Args:
        answers: Some answers.
        name: Name of the metric that asks.

    Raises:
        UsageError: If they do not say which rows of the data they belong to.
    """
    import torch  # noqa: PLC0415 (what was measured is read without it)

    if answers.start is None:
        raise UsageError(
            f"metric '{name}' does not know which rows of the data it sees; measure it by "
            "ensembles.lesion"
        )
    rows = torch.arange(len(answers), device=answers.output.device)
    if answers.row is not None:
        rows = torch.full_like(rows, answers.row)
    return (answers.start + rows) % FOLDS


MEMBER = Folds()
