"""What came of running one lesion over the data, as counts."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ensembles.lesions import Lesion

__all__ = ["Outcome"]


@dataclass(frozen=True)
class Outcome:
    """Counts and sums over all images for one lesion.

    Attributes:
        lesion: The lesion that was run.
        correct: Images whose largest logit is that of their label.
        total: Images seen.
        loss_sum: Sum over images of the cross-entropy, in nats.
        nonfinite: Images whose logits were not all finite.
    """

    lesion: Lesion
    correct: int
    total: int
    loss_sum: float
    nonfinite: int = 0

    @property
    def error(self) -> float:
        """Share of the images that are misclassified; NaN where logits were not finite."""
        return self._share(self.total - self.correct)

    @property
    def loss(self) -> float:
        """Mean cross-entropy in nats; NaN where logits were not finite."""
        return self._share(self.loss_sum)

    def _share(self, amount: float) -> float:
        return math.nan if self.nonfinite or not self.total else amount / self.total
