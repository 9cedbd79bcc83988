"""A network that normalises its images itself, as robustness libraries save them."""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["Normalized"]


class Normalized(nn.Module):
    """``network((x - mean) / std)`` of images between 0 and 1.

    Args:
        network: Takes normalised images.
        mean: One value a channel, or one for all, on the scale 0 to 1.
        std: As many.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, network: nn.Module, mean: Tensor, std: Tensor) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("mean", mean.reshape(-1, 1, 1).to(torch.float32))
        self.register_buffer("std", std.reshape(-1, 1, 1).to(torch.float32))

    def forward(self, x: Tensor) -> Tensor:
        """Map images (N, C, H, W) with values from 0 to 1 to logits (N, num_classes)."""
        out: Tensor = self.network((x - self.mean) / self.std)
        return out
