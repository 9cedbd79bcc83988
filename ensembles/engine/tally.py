"""What is counted of the logits of each lesion, on the device, until the data end."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from ensembles.engine.outcome import Outcome
from ensembles.lesions import Lesion

__all__ = ["Details", "Tally"]

Details = Literal["none", "classes", "predictions"]


class Tally:
    """Counts of all lesions of a sweep.

    Args:
        lesions: How many lesions there are.
        classes: How many classes.
        details: "classes" counts by class too; "predictions" also keeps the predicted classes.
        device: Where to count.
        images: How many images are to be counted; 0 where others are added.

    Attributes:
        sums: Images that are correct, summed cross-entropy in nats, images whose logits are not
            finite: (lesions, 3).
    """

    def __init__(
        self, lesions: int, classes: int, details: Details, device: torch.device, images: int = 0
    ) -> None:
        self.lesions, self.classes, self.details, self.device = lesions, classes, details, device
        wide = torch.float32 if device.type == "mps" else torch.float64
        by_class = classes if details != "none" else 0
        self.sums = torch.zeros(lesions, 3, dtype=wide, device=device)
        self._by_class = torch.zeros(lesions, by_class, dtype=wide, device=device)
        kept = images if details == "predictions" else 0
        self._predicted = torch.zeros(lesions, kept, dtype=torch.int32, device=device)
        self._parts: list[Tensor] = []

    def blank(self, images: int) -> Tally:
        """One like this, with nothing counted, for some images."""
        return Tally(self.lesions, self.classes, self.details, self.device, images)

    def count(self, lesion: int, logits: Tensor, labels: Tensor) -> None:
        """Count the images of a blank tally for one lesion.

        Args:
            lesion: Its number in the sweep.
            logits: (images, classes).
            labels: (images,).
        """
        finite = torch.isfinite(logits).all(-1)
        loss = F.cross_entropy(logits, labels, reduction="none")
        predicted = logits.argmax(-1)
        correct = (predicted == labels) & finite
        self.sums[lesion, 0] = correct.sum()
        self.sums[lesion, 1] = torch.where(finite, loss, 0.0).to(self.sums.dtype).sum()
        self.sums[lesion, 2] = (~finite).sum()
        if self.details != "none":
            self._by_class[lesion].index_add_(0, labels, correct.to(self.sums.dtype))
        if self.details == "predictions":
            self._predicted[lesion] = torch.where(finite, predicted, -1).to(torch.int32)

    def add(self, other: Tally) -> None:
        """Add the counts of further images: all of them or, should memory run out, none."""
        sums, by_class = self.sums + other.sums, self._by_class + other._by_class
        parts = [other._predicted.cpu()] if self.details == "predictions" else []
        self.sums, self._by_class, self._parts = sums, by_class, [*self._parts, *parts]

    def outcomes(self, sweep: Sequence[Lesion], total: int) -> list[Outcome]:
        """The counts as outcomes, in the order of the sweep."""
        by_class = self._by_class.long().tolist() if self.details != "none" else None
        predicted = torch.cat(self._parts, 1).numpy() if self.details == "predictions" else None
        return [
            Outcome(
                lesion, int(correct), total, float(loss), int(bad),
                class_correct=tuple(by_class[i]) if by_class is not None else None,
                predictions=predicted[i] if predicted is not None else None,
            )
            for i, (lesion, (correct, loss, bad)) in enumerate(
                zip(sweep, self.sums.tolist(), strict=True)
            )
        ]  # fmt: skip
