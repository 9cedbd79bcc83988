"""What a network answered to some observations, with what several metrics need of it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

__all__ = ["Answers"]

_MANY = 512
"""Logits of an observation from which on a sum is faster."""


@dataclass(eq=False)
class Answers:
    """The answers to N observations; what several metrics need is computed once.

    Attributes:
        output: Logits (N, classes), float32 or float64; zeros where they were not finite.
        target: Class of each observation, int64 (N,).
        finite: Whether the logits of each observation are finite, (N,).
        intact: The answers of the intact network; None where no metric needs them.
        places: The place of each observation in its window, from 0, int64 (N,); None where
            observations have no places.
        row: Of the rows that were given, the number of the one that all observations lie in, from
            0; None where each is a row of its own.
        start: Number in the data of the first of these rows; None where unknown.
    """

    output: Tensor
    target: Tensor
    finite: Tensor
    intact: Answers | None = None
    places: Tensor | None = None
    row: int | None = None
    start: int | None = None

    @classmethod
    def of(
        cls,
        output: Tensor,
        target: Tensor,
        intact: Tensor | Answers | None = None,
        places: Tensor | None = None,
    ) -> Answers:
        """Answers from raw logits; those that are not finite are marked and set to zero.

        Args:
            output: Logits (N, classes). A single logit (N, 1) is that of class 1 against class 0,
                whose logit is 0: its sign chooses, and 0 is class 0.
            target: Class of each observation, int64 (N,).
            intact: The intact network's logits, (N, classes); or its answers, so that what they
                hold is computed once for all lesions.
            places: The place of each in its window, from 0, int64 (N,), where it has one.
        """
        wide = output if output.dtype == torch.float64 else output.float()
        if wide.shape[-1] == 1:
            wide = torch.cat([torch.zeros_like(wide), wide], -1)
        finite = _finite(wide)
        of_intact = cls.of(intact, target) if isinstance(intact, Tensor) else intact
        if wide.device.type != "cpu" or not bool(finite.all()):
            wide = torch.where(finite[:, None], wide, 0.0)
        return cls(wide, target, finite, of_intact, places)

    def __len__(self) -> int:
        return len(self.target)

    @property
    def classes(self) -> int:
        """How many classes there are."""
        return self.output.shape[-1]

    @property
    def wide(self) -> torch.dtype:
        """The type to add in: float64, where the device has it."""
        return torch.float32 if self.output.device.type == "mps" else torch.float64

    @cached_property
    def predicted(self) -> Tensor:
        """Class of the largest logit, of equal ones the first: int64 (N,)."""
        return self.output.argmax(-1)

    @cached_property
    def right(self) -> Tensor:
        """Whether the answer is right, and finite: (N,)."""
        return (self.predicted == self.target) & self.finite

    @cached_property
    def ranks(self) -> Tensor:
        """How many classes come before the right one, int64 (N,).

        Those of a larger logit, and of equal ones those of a lower number.
        """
        place = self.target[:, None]
        right = self.output.gather(-1, place)
        numbers = torch.arange(self.classes, device=self.output.device)
        tied = (self.output == right) & (numbers < place)
        return ((self.output > right) | tied).sum(-1)

    @cached_property
    def log_probabilities(self) -> Tensor:
        """Logarithms of the softmax, (N, classes)."""
        return self.output.log_softmax(-1)

    @cached_property
    def probabilities(self) -> Tensor:
        """The softmax, (N, classes)."""
        return self.log_probabilities.exp()

    @cached_property
    def losses(self) -> Tensor:
        """Cross-entropy of each observation in nats, (N,)."""
        return -self.log_probabilities.gather(-1, self.target[:, None])[:, 0]

    @property
    def reference(self) -> Answers:
        """The answers of the intact network, for a metric that needs them."""
        assert self.intact is not None, "the metric must say needs_intact"
        return self.intact

    def total(self, values: Tensor) -> Tensor:
        """Sum of a value of each observation, over those whose logits are finite.

        Args:
            values: (N,), or (N, k) for k values of each observation.

        Returns:
            (1,), or (k,).
        """
        finite = self.finite if values.ndim == 1 else self.finite[:, None]
        return torch.where(finite, values.to(self.wide), 0.0).sum(0).reshape(-1)

    def counts(self, places: Tensor, size: int, which: Tensor | None = None) -> Tensor:
        """How many observations fall on each place, of those whose logits are finite.

        Args:
            places: Place of each observation, int64 (N,), from 0.
            size: How many places there are.
            which: Which observations are counted, (N,); by default all.

        Returns:
            (size,).
        """
        counted = self.finite if which is None else self.finite & which
        zeros = torch.zeros(size, dtype=self.wide, device=self.output.device)
        return zeros.index_add_(0, places, counted.to(self.wide))


def _finite(output: Tensor) -> Tensor:
    """Whether all logits of each observation are finite, (N,).

    A sum is finite only where all that is added is, and many logits are added faster than looked
    at; one that overflows is looked at after all.
    """
    if output.shape[-1] < _MANY or output.device.type != "cpu":
        return torch.isfinite(output).all(-1)
    finite = torch.isfinite(output.sum(-1))
    return finite if bool(finite.all()) else torch.isfinite(output).all(-1)
