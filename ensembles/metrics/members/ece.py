"""Whether the probabilities are those with which the answers are right."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ensembles.metrics.base import Column, Metric, State

if TYPE_CHECKING:
    from torch import Tensor

    from ensembles.metrics.answers import Answers

__all__ = ["BINS", "MEMBER", "CalibrationError", "bins_of", "calibration_error"]

BINS = 15
"""How many bins of confidence there are."""


@dataclass(frozen=True)
class CalibrationError(Metric):
    """Expected calibration error over 15 bins of confidence of equal width.

    The confidence is the largest probability; bin m holds the observations whose confidence lies
    in ((m - 1) / 15, m / 15]. The error is the sum over bins of (n_m / N) |acc_m - conf_m|: the
    share of the observations there, times the distance of their accuracy from their mean
    confidence (Guo, Pleiss, Sun and Weinberger, "On calibration of modern neural networks", ICML
    2017, arXiv 1706.04599, section 2, equation 3). Between 0 and 1.

    Kept: observations of each bin, right answers of each bin, sum of the confidences of each bin.
    """

    name = "ece"
    summary = "expected calibration error, 15 bins of confidence"
    columns = (Column("ece", "number", "less", "Expected calibration error"),)
    span = (0, 1)

    def size(self, classes: int) -> int:
        """Three numbers a bin."""
        return 3 * BINS

    def measure(self, answers: Answers) -> Tensor:
        """Observations, right answers and sum of the confidences of each bin: (45,)."""
        import torch  # noqa: PLC0415 (what was measured is read without it)

        confidence = answers.probabilities.amax(-1).to(answers.wide)
        bins = bins_of(confidence)
        inside = bins[:, None] == torch.arange(BINS, device=bins.device)
        confidences = torch.where(inside, confidence[:, None], 0.0)
        kept = (inside, inside & answers.right[:, None], confidences)
        return torch.cat([answers.total(values) for values in kept])

    def row(self, state: State, total: int) -> dict[str, Any]:
        """The expected calibration error."""
        _, right, confidence = state.reshape(3, BINS)
        return {"ece": float(calibration_error(right, confidence, total))}


def bins_of(confidence: Tensor) -> Tensor:
    """The bin of each confidence, from 0."""
    return (confidence * BINS).ceil().long().clamp(1, BINS) - 1


def calibration_error(right: Any, confidence: Any, total: Any) -> Any:
    """The expected calibration error of sums over the observations of each bin.

    Args:
        right: Right answers of each bin, (..., bins).
        confidence: Sum of the confidences of each bin, alike.
        total: How many observations there are, (...).
    """
    return np.abs(right - confidence).sum(-1) / total


MEMBER = CalibrationError()
