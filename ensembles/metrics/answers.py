"""What a network answered to some observations, with what several metrics need of it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

__all__ = ["Answers"]


@dataclass(eq=False)
class Answers:
    """The answers to N observations.

    Attributes:
        output: Logits (N, classes), float32; zeros where they were not finite.
        target: Class of each observation, int64 (N,).
        finite: Whether the logits of each observation are finite, (N,).
        intact: The intact network's logits, alike; None where no metric needs them.
    """

    output: Tensor
    target: Tensor
    finite: Tensor
    intact: Tensor | None = None

    @classmethod
    def of(cls, output: Tensor, target: Tensor, intact: Tensor | None = None) -> Answers:
        """Answers from raw logits; those that are not finite are marked and set to zero."""
        finite = torch.isfinite(output).all(-1)
        return cls(torch.where(finite[:, None], output, 0.0), target, finite, intact)

    @property
    def wide(self) -> torch.dtype:
        """The type to add in: float64, where the device has it."""
        return torch.float32 if self.output.device.type == "mps" else torch.float64

    @cached_property
    def predicted(self) -> Tensor:
        """Class of the largest logit, int64 (N,)."""
        return self.output.argmax(-1)

    @cached_property
    def log_probabilities(self) -> Tensor:
        """Logarithms of the softmax, (N, classes)."""
        return self.output.log_softmax(-1)

    @cached_property
    def intact_log_probabilities(self) -> Tensor:
        """Logarithms of the intact network's softmax, (N, classes)."""
        assert self.intact is not None
        return self.intact.log_softmax(-1)

    def total(self, values: Tensor) -> Tensor:
        """Sum of a value of each observation, over those whose logits are finite: (1,)."""
        return torch.where(self.finite, values.to(self.wide), 0.0).sum()[None]
