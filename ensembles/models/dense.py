"""Densely connected networks for CIFAR (Huang et al. 2017, arXiv 1608.06993, section 3, table 2).

Every layer of a dense block sees the outputs of all earlier ones of the block. ``bc`` in a name is
the authors' B (a 1x1 convolution to four times the growth before each 3x3) and C (transitions halve
the channels). Without dropout.
"""

from __future__ import annotations

from collections import OrderedDict
from functools import partial

import torch
from torch import Tensor, nn

from .parts import Architecture, he_initialize, pooled_classifier, require_depth

__all__ = ["FAMILY", "CifarDenseNet", "DenseLayer"]


def _activated(in_channels: int, conv: nn.Conv2d) -> list[nn.Module]:
    return [nn.BatchNorm2d(in_channels), nn.ReLU(), conv]


class DenseLayer(nn.Module):
    """BatchNorm, ReLU and a 3x3 convolution, whose output is put beside the input.

    Args:
        in_channels: Channels that come in.
        growth: Channels that the layer adds.
        bottleneck: Whether a 1x1 convolution comes first.
    """

    def __init__(self, in_channels: int, growth: int, bottleneck: bool) -> None:
        super().__init__()
        parts: list[nn.Module] = []
        width = in_channels
        if bottleneck:
            parts += _activated(width, nn.Conv2d(width, 4 * growth, 1, bias=False))
            width = 4 * growth
        parts += _activated(width, nn.Conv2d(width, growth, 3, padding=1, bias=False))
        self.layers = nn.Sequential(*parts)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, in_channels, H, W) to (N, in_channels + growth, H, W)."""
        return torch.cat([x, self.layers(x)], 1)


class CifarDenseNet(nn.Sequential):
    """A convolution, three dense blocks with transitions between, and a linear classifier.

    Args:
        depth: Number of weight layers: 3n + 4, or 6n + 4 with bottlenecks.
        growth: Channels that each layer adds (k).
        bc: Whether layers have bottlenecks, transitions halve the channels, and the first
            convolution has twice the growth instead of 16 channels.
        num_classes: Width of the classifier.
        in_channels: Channels of the images.

    Raises:
        ValueError: When ``depth`` does not fit.
    """

    def __init__(
        self,
        depth: int,
        growth: int,
        bc: bool = False,
        num_classes: int = 10,
        in_channels: int = 3,
    ) -> None:
        layers = require_depth(depth, 4, 2 if bc else 1)
        width = 2 * growth if bc else 16
        parts: dict[str, nn.Module] = {
            "conv1": nn.Conv2d(in_channels, width, 3, padding=1, bias=False)
        }
        for stage in (1, 2, 3):
            if stage > 1:
                out = width // 2 if bc else width
                squeeze = _activated(width, nn.Conv2d(width, out, 1, bias=False))
                parts[f"transition{stage - 1}"] = nn.Sequential(*squeeze, nn.AvgPool2d(2))
                width = out
            grown = range(width, width + layers * growth, growth)
            parts[f"dense{stage}"] = nn.Sequential(*(DenseLayer(w, growth, bc) for w in grown))
            width += layers * growth
        super().__init__(
            OrderedDict(
                **parts,
                bn=nn.BatchNorm2d(width),
                relu=nn.ReLU(),
                **pooled_classifier(width, num_classes),
            )
        )
        he_initialize(self)


def _architecture(name: str, depth: int, bc: bool, error: float) -> Architecture:
    return Architecture(
        name=name,
        library="ensembles",
        build=partial(CifarDenseNet, depth=depth, growth=12, bc=bc),
        input_size=(3, 32, 32),
        num_classes=10,
        paper="Huang et al. 2017, arXiv 1608.06993",
        published_error=error,
        family="dense",
    )


FAMILY: tuple[Architecture, ...] = (
    _architecture("densenet40-12", 40, False, 5.24),
    _architecture("densenet-bc-100-12", 100, True, 4.51),
)
