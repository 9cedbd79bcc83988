"""ResNet in ResNet for CIFAR (Targ, Almeida and Lyman 2016, arXiv 1603.08029, figure 1).

Two streams run through the network. The residual one has shortcuts, the transient one has none, and
each feeds the other. Both lie side by side in one tensor here, the residual channels first: the
four convolutions of a unit are then one, and the shortcut adds to the first half of its channels,
which changes neither the function nor the parameters.

Deviation: as in pytorchcv's public network, 4 + 6 + 6 units and a 1x1 classifier with BatchNorm,
9,492,980 parameters; the paper states 10.3 million.
"""

from __future__ import annotations

from functools import partial

import torch.nn.functional as F
from torch import Tensor, nn

from .parts import Architecture, he_initialize

__all__ = ["FAMILY", "CifarRiR", "TwoStreamUnit"]


class TwoStreamUnit(nn.Module):
    """A generalised residual block of one layer.

    Args:
        in_channels: Channels of each stream that come in.
        channels: Channels of each stream that go out.
        stride: Stride of the convolution.
    """

    def __init__(self, in_channels: int, channels: int, stride: int = 1) -> None:
        super().__init__()
        self.residual = in_channels
        self.padding = (0, 0, 0, 0, 0, channels)
        self.conv = nn.Conv2d(2 * in_channels, 2 * channels, 3, stride, 1, bias=False)
        same = stride == 1 and in_channels == channels
        project = nn.Conv2d(in_channels, channels, 1, stride, bias=False)
        self.shortcut = nn.Identity() if same else project
        self.bn = nn.BatchNorm2d(2 * channels)
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, 2 in_channels, H, W) to (N, 2 channels, H / stride, W / stride)."""
        carried = F.pad(self.shortcut(x[:, : self.residual]), self.padding)
        out: Tensor = self.relu(self.bn(self.conv(x) + carried))
        return out


class CifarRiR(nn.Module):
    """A convolution for both streams, three stages of two-stream units, and a classifier.

    Args:
        channels: Channels of each stream in each stage.
        units: Units of each stage.
        num_classes: Width of the classifier.
        in_channels: Channels of the images.
    """

    def __init__(
        self,
        channels: tuple[int, ...] = (48, 96, 192),
        units: tuple[int, ...] = (4, 6, 6),
        num_classes: int = 10,
        in_channels: int = 3,
    ) -> None:
        super().__init__()
        width = channels[0]
        self.conv1 = nn.Conv2d(in_channels, 2 * width, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(2 * width)
        self.relu = nn.ReLU()
        stages = []
        for stage, (wide, count) in enumerate(zip(channels, units, strict=True)):
            first = TwoStreamUnit(width, wide, 2 if stage else 1)
            rest = (TwoStreamUnit(wide, wide) for _ in range(count - 1))
            stages.append(nn.Sequential(first, *rest))
            width = wide
        self.stages = nn.Sequential(*stages)
        self.classifier = nn.Conv2d(2 * width, num_classes, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(num_classes)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        he_initialize(self)

    def forward(self, x: Tensor) -> Tensor:
        """Map images (N, in_channels, 32, 32) to logits (N, num_classes)."""
        x = self.stages(self.relu(self.bn1(self.conv1(x))))
        out: Tensor = self.avgpool(self.bn2(self.classifier(x))).flatten(1)
        return out


FAMILY: tuple[Architecture, ...] = (
    Architecture(
        name="rir",
        library="ensembles",
        build=partial(CifarRiR),
        input_size=(3, 32, 32),
        num_classes=10,
        paper="Targ et al. 2016, arXiv 1603.08029",
        published_error=5.01,
    ),
)
