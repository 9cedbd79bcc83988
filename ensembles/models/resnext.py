"""ResNeXt for CIFAR (Xie et al. 2017, arXiv 1611.05431, section 5.1).

Bottlenecks whose 3x3 convolution has groups ("cardinality"); a 1x1 convolution with BatchNorm as
shortcut where the shape changes; ReLU after the addition.
"""

from __future__ import annotations

from collections import OrderedDict
from functools import partial

from torch import Tensor, nn

from .parts import (
    Architecture,
    ResidualBlock,
    conv_unit,
    he_initialize,
    pooled_classifier,
    require_depth,
    stages,
)

__all__ = ["FAMILY", "CifarResNeXt", "GroupedBottleneck"]


class GroupedBottleneck(ResidualBlock):
    """Convolutions of 1x1, grouped 3x3 and 1x1, each with BatchNorm.

    Args:
        in_channels: Channels that come in.
        channels: Channels that go out.
        stride: Stride of the 3x3 convolution.
        groups: Groups of the 3x3 convolution.
        inner: Channels of the 3x3 convolution.
    """

    def __init__(
        self, in_channels: int, channels: int, stride: int, groups: int, inner: int
    ) -> None:
        super().__init__()
        self.convolutions = nn.Sequential(
            *conv_unit(in_channels, inner, 1),
            nn.Conv2d(inner, inner, 3, stride, 1, groups=groups, bias=False),
            nn.BatchNorm2d(inner),
            nn.ReLU(),
            nn.Conv2d(inner, channels, 1, bias=False),
            nn.BatchNorm2d(channels),
        )
        same = stride == 1 and in_channels == channels
        project = nn.Conv2d(in_channels, channels, 1, stride, bias=False)
        self.shortcut = nn.Identity() if same else nn.Sequential(project, nn.BatchNorm2d(channels))
        self.relu = nn.ReLU()

    @property
    def branch_end(self) -> nn.Module:
        """The last BatchNorm."""
        return self.convolutions[-1]

    def branch(self, x: Tensor) -> Tensor:
        """The three convolutions."""
        out: Tensor = self.convolutions(x)
        return out

    def post(self, x: Tensor) -> Tensor:
        """ReLU after the addition."""
        out: Tensor = self.relu(x)
        return out


class CifarResNeXt(nn.Sequential):
    """9n + 2 layers: a convolution, three stages of n bottlenecks, and a linear classifier.

    Args:
        depth: Number of weight layers, 9n + 2.
        groups: Groups of each 3x3 convolution.
        group_width: Channels of a group in the first stage; later ones have 2 and 4 times as many.
        width: Channels of the first convolution; the stages have 4, 8 and 16 times as many.
        num_classes: Width of the classifier.
        in_channels: Channels of the images.

    Raises:
        ValueError: When ``depth`` is not 9n + 2.
    """

    def __init__(
        self,
        depth: int,
        groups: int,
        group_width: int,
        width: int = 64,
        *,
        num_classes: int = 10,
        in_channels: int = 3,
    ) -> None:
        blocks = require_depth(depth, 2, 3)

        def block(incoming: int, outgoing: int, stride: int) -> GroupedBottleneck:
            inner = groups * group_width * outgoing // (4 * width)
            return GroupedBottleneck(incoming, outgoing, stride, groups, inner)

        channels = [[4 * width * 2**stage] * blocks for stage in range(3)]
        super().__init__(
            OrderedDict(
                conv1=nn.Conv2d(in_channels, width, 3, 1, 1, bias=False),
                bn1=nn.BatchNorm2d(width),
                relu=nn.ReLU(),
                **stages(block, width, channels),
                **pooled_classifier(16 * width, num_classes),
            )
        )
        he_initialize(self)


FAMILY: tuple[Architecture, ...] = (
    Architecture(
        name="resnext29-8x64",
        library="ensembles",
        build=partial(CifarResNeXt, depth=29, groups=8, group_width=64),
        input_size=(3, 32, 32),
        num_classes=10,
        paper="Xie et al. 2017, arXiv 1611.05431",
        published_error=3.65,
        family="resnext",
    ),
)
