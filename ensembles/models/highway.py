"""Highway networks for CIFAR (Srivastava, Greff and Schmidhuber 2015, arXiv 1507.06228, table 2).

The 19 layers of the authors' "Highway" after FitNet-4, as in their published Caffe configuration:
three stages, each a convolution and gated layers of one width, then a 1x1 convolution, the mean
over positions, and the classifier. No normalisation; every convolution has a bias.
"""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor, nn

from .parts import Architecture, he_initialize

__all__ = ["FAMILY", "HighwayLayer", "HighwayNetwork"]


class HighwayLayer(nn.Module):
    """``t * h(x) + (1 - t) * x`` with the gate ``t = sigmoid(gate(x))`` (equation 3).

    Args:
        channels: Channels that come in and go out.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)
        self.gate = nn.Conv2d(channels, channels, 3, padding=1)
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, channels, H, W) to the same shape."""
        t = torch.sigmoid(self.gate(x))
        out: Tensor = t * self.relu(self.conv(x)) + (1 - t) * x
        return out


class HighwayNetwork(nn.Module):
    """Stages of highway layers; gates begin nearly closed.

    Args:
        channels: Width of each stage.
        layers: Layers of each stage; the first of them is a plain convolution.
        hidden: Channels of the 1x1 convolution before the classifier.
        gate_bias: What the gates' biases begin with.
        dropout: Probability of dropping a value of the images, after pooling, and before the
            classifier, while training.
        num_classes: Width of the classifier.
        in_channels: Channels of the images.
    """

    def __init__(
        self,
        channels: tuple[int, ...] = (32, 80, 128),
        layers: tuple[int, ...] = (5, 6, 6),
        *,
        hidden: int = 100,
        gate_bias: float = -2.0,
        dropout: float = 0.2,
        num_classes: int = 10,
        in_channels: int = 3,
    ) -> None:
        super().__init__()
        parts: list[nn.Module] = []
        width = in_channels
        for wide, count in zip(channels, layers, strict=True):
            parts += [nn.MaxPool2d(2)] if parts else []
            parts += [nn.Dropout(dropout), nn.Conv2d(width, wide, 3, padding=1), nn.ReLU()]
            parts += [HighwayLayer(wide) for _ in range(count - 1)]
            width = wide
        self.features = nn.Sequential(*parts, nn.Conv2d(width, hidden, 1), nn.ReLU())
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.dropout = nn.Dropout(dropout)
        self.linear = nn.Linear(hidden, num_classes)
        he_initialize(self)
        for module in self.modules():
            if isinstance(module, HighwayLayer) and module.gate.bias is not None:
                nn.init.constant_(module.gate.bias, gate_bias)

    def forward(self, x: Tensor) -> Tensor:
        """Map images (N, in_channels, 32, 32) to logits (N, num_classes)."""
        x = self.avgpool(self.features(x)).flatten(1)
        out: Tensor = self.linear(self.dropout(x))
        return out


FAMILY: tuple[Architecture, ...] = (
    Architecture(
        name="highway19",
        library="ensembles",
        build=partial(HighwayNetwork),
        input_size=(3, 32, 32),
        num_classes=10,
        paper="Srivastava et al. 2015, arXiv 1507.06228",
        published_error=7.7,
    ),
)
