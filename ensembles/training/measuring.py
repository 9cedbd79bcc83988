"""The error of a network on a data set, as training reports it and cards state it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from ensembles.data import ImageDataset

__all__ = ["Measured", "measure"]


@dataclass(frozen=True)
class Measured:
    """A count of right answers.

    Attributes:
        correct: Images whose highest logit is that of their class.
        total: Images seen.
    """

    correct: int
    total: int

    @property
    def error(self) -> float:
        """Wrong answers in %."""
        return 100 * (self.total - self.correct) / self.total


@torch.no_grad()
def measure(
    model: nn.Module, data: ImageDataset, *, batch_size: int = 250, bf16: bool = False
) -> Measured:
    """Count the right answers of a network in evaluation mode, where its parameters lie.

    Args:
        model: The network, in evaluation mode.
        data: The images, each taken once.
        batch_size: Images in a batch.
        bf16: Whether to compute in bfloat16 (automatic mixed precision) rather than float32.
    """
    device = next(model.parameters()).device
    correct = 0
    for images, labels in data.batches(batch_size):
        moved = images.to(device, memory_format=torch.channels_last)
        with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
            answers = model(moved).argmax(1)
        correct += int((answers.cpu() == labels).sum())
    return Measured(correct, len(data))
