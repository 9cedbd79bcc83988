"""Deep pyramidal residual networks for CIFAR (Han, Kim and Kim 2017, arXiv 1610.02915, table 1).

Every block widens the network a little (equation 3), so that no shortcut is the identity: it pads
with zero channels (figure 5b), and averages where the resolution falls. A block has a BatchNorm
first and last, and a ReLU between the convolutions only (figure 6d).
"""

from __future__ import annotations

from collections import OrderedDict
from functools import partial

from torch import Tensor, nn

from .parts import (
    Architecture,
    ResidualBlock,
    he_initialize,
    pooled_classifier,
    require_depth,
    stages,
)

__all__ = ["FAMILY", "CifarPyramidNet", "PyramidBlock"]


class PyramidBlock(ResidualBlock):
    """BatchNorm, convolution, BatchNorm, ReLU, convolution, BatchNorm; a padded shortcut.

    Args:
        in_channels: Channels that come in.
        channels: Channels that go out, at least ``in_channels``.
        stride: Stride of the first convolution.
    """

    def __init__(self, in_channels: int, channels: int, stride: int) -> None:
        super().__init__()
        self.convolutions = nn.Sequential(
            nn.BatchNorm2d(in_channels),
            nn.Conv2d(in_channels, channels, 3, stride, 1, bias=False),
            nn.BatchNorm2d(channels),
            nn.ReLU(),
            nn.Conv2d(channels, channels, 3, 1, 1, bias=False),
            nn.BatchNorm2d(channels),
        )
        smaller = [nn.AvgPool2d(2, ceil_mode=True)] if stride != 1 else []
        padded = nn.ZeroPad3d((0, 0, 0, 0, 0, channels - in_channels))
        self.shortcut = nn.Sequential(*smaller, padded)

    @property
    def branch_end(self) -> nn.Module:
        """The last BatchNorm."""
        return self.convolutions[-1]

    def branch(self, x: Tensor) -> Tensor:
        """The two convolutions with what is before, between and after them."""
        out: Tensor = self.convolutions(x)
        return out


class CifarPyramidNet(nn.Sequential):
    """6n + 2 layers whose width grows by ``widening / 3n`` channels a block.

    Args:
        depth: Number of weight layers, 6n + 2.
        widening: Channels that all blocks add together (alpha).
        width: Channels of the first convolution.
        num_classes: Width of the classifier.
        in_channels: Channels of the images.

    Raises:
        ValueError: When ``depth`` is not 6n + 2.
    """

    def __init__(
        self,
        depth: int,
        widening: int,
        width: int = 16,
        num_classes: int = 10,
        in_channels: int = 3,
    ) -> None:
        blocks = require_depth(depth, 2, 2)
        grown = [round(width + widening * i / (3 * blocks)) for i in range(1, 3 * blocks + 1)]
        channels = [grown[stage * blocks : (stage + 1) * blocks] for stage in range(3)]
        last = channels[-1][-1]
        super().__init__(
            OrderedDict(
                conv1=nn.Conv2d(in_channels, width, 3, 1, 1, bias=False),
                bn1=nn.BatchNorm2d(width),
                **stages(PyramidBlock, width, channels),
                bn2=nn.BatchNorm2d(last),
                relu=nn.ReLU(),
                **pooled_classifier(last, num_classes),
            )
        )
        he_initialize(self)


_PUBLISHED = {48: 4.62, 84: 4.27, 270: 3.73}

FAMILY: tuple[Architecture, ...] = tuple(
    Architecture(
        name=f"pyramidnet110-{widening}",
        library="ensembles",
        build=partial(CifarPyramidNet, depth=110, widening=widening),
        input_size=(3, 32, 32),
        num_classes=10,
        paper="Han et al. 2017, arXiv 1610.02915",
        published_error=error,
        family="pyramid",
    )
    for widening, error in _PUBLISHED.items()
)
