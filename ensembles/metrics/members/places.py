"""What a language model answers at each place of the window."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ensembles.errors import UsageError
from ensembles.metrics.base import Column, Metric, State

if TYPE_CHECKING:
    from torch import Tensor

    from ensembles.metrics.answers import Answers

__all__ = ["MEMBER", "Places"]


@dataclass(frozen=True)
class Places(Metric):
    """Right answers and mean cross-entropy at each place of the window.

    The first place is that of the second token, predicted from the first alone. Kept: of each place
    the observations whose logits are finite, the right ones, and the sum of the cross-entropies.

    Attributes:
        places: How many places a window has; None before the network is known.
    """

    name = "places"
    summary = "right answers and loss at each place of the window"
    columns = (
        Column("place_correct", "counts", "more", "Right answers at each place"),
        Column("place_total", "counts", None, "Tokens at each place"),
        Column("place_loss", "numbers", "less", "Cross-entropy at each place (nats)"),
    )
    span = (0, math.inf)
    tasks = ("language",)

    places: int | None = None

    def suited(self, net: Any, data: Any) -> Metric:
        """The metric for a network's windows."""
        return replace(self, places=int(net.output_shape[0]) - 1)

    @property
    def bare(self) -> Metric:
        """The metric of no text or network yet."""
        return replace(self, places=None)

    def size(self, classes: int) -> int:
        """Three numbers a place."""
        return 3 * (self.places or 0)

    def measure(self, answers: Answers) -> Tensor:
        """What some tokens add, (3 places,)."""
        import torch  # noqa: PLC0415

        if self.places is None:
            raise UsageError(
                "metric 'places' does not know the length of the windows; measure it by "
                "ensembles.lesion, or make it suited to the network first"
            )
        at = answers.places
        if at is None:  # whole windows, one behind the other
            at = torch.arange(len(answers), device=answers.output.device) % self.places
        finite = answers.finite.to(answers.wide)
        zero = torch.zeros(3, self.places, dtype=answers.wide, device=answers.output.device)
        zero[0].index_add_(0, at, finite)
        zero[1].index_add_(0, at, answers.right.to(answers.wide))
        losses = torch.where(answers.finite, answers.losses.to(answers.wide), 0.0)
        zero[2].index_add_(0, at, losses)
        return zero.flatten()

    def row(self, state: State, total: int) -> dict[str, Any]:
        """Counts and mean losses, place by place."""
        seen, right, losses = np.asarray(state).reshape(3, -1)
        means = losses / np.maximum(seen, 1)
        return {"place_correct": right, "place_total": seen, "place_loss": means}

    def possible(self, states: State, finite: Any, per_class: Any) -> Any:
        """Which states can have been kept: no more right than seen at a place."""
        seen, right, losses = np.moveaxis(states.reshape(len(states), 3, -1), 1, 0)
        return np.asarray((right <= seen).all(1) & (right >= 0).all(1) & (losses >= 0).all(1))


MEMBER = Places()
