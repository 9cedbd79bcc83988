"""What came of running one lesion over the data, as counts."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ensembles.lesions import Lesion

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

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
        class_correct: Of the correct images, how many are of each class; None where not asked for.
        predictions: Class of the largest logit of each image, -1 where logits were not finite,
            (images,); None where not asked for.
    """

    lesion: Lesion
    correct: int
    total: int
    loss_sum: float
    nonfinite: int = 0
    class_correct: tuple[int, ...] | None = None
    predictions: NDArray[np.int32] | None = field(default=None, compare=False, repr=False)

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
