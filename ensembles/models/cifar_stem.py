"""ResNet-18 to ResNet-152 with the stem of CIFAR networks: a 3x3 convolution, and no pooling.

The networks of He et al. 2015 (arXiv 1512.03385, table 1) for small images, as the repositories
kuangliu/pytorch-cifar and weiaicunzai/pytorch-cifar100 made them common. Module names are those of
the former; weights under the names of the latter, and of torchvision, are understood.
"""

from __future__ import annotations

from functools import partial

from torch import Tensor, nn

from .parts import Architecture, ResidualBlock, he_initialize
from .projection import projection
from .resnet import BasicBlock

__all__ = ["FAMILY", "CifarStemBottleneck", "CifarStemResNet"]

_BLOCKS = {
    18: (2, 2, 2, 2),
    34: (3, 4, 6, 3),
    50: (3, 4, 6, 3),
    101: (3, 4, 23, 3),
    152: (3, 8, 36, 3),
}
_FIRST_BOTTLENECK = 50


class CifarStemBottleneck(ResidualBlock):
    """A 1x1, a 3x3 with the stride, and a 1x1 convolution to four times the channels.

    Args:
        in_channels: Channels that come in.
        channels: Channels of the 3x3 convolution.
        stride: Its stride.
    """

    def __init__(self, in_channels: int, channels: int, stride: int = 1) -> None:
        super().__init__()
        out = 4 * channels
        self.conv1 = nn.Conv2d(in_channels, channels, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.relu1 = nn.ReLU()
        self.conv2 = nn.Conv2d(channels, channels, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.relu2 = nn.ReLU()
        self.conv3 = nn.Conv2d(channels, out, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(out)
        same = stride == 1 and in_channels == out
        self.shortcut = nn.Identity() if same else projection(in_channels, out, stride)
        self.relu3 = nn.ReLU()

    @property
    def branch_end(self) -> nn.Module:
        """The third BatchNorm."""
        return self.bn3

    def branch(self, x: Tensor) -> Tensor:
        """Three times convolution and BatchNorm, with a ReLU between."""
        x = self.relu1(self.bn1(self.conv1(x)))
        x = self.relu2(self.bn2(self.conv2(x)))
        out: Tensor = self.bn3(self.conv3(x))
        return out

    def post(self, x: Tensor) -> Tensor:
        """ReLU after the addition."""
        out: Tensor = self.relu3(x)
        return out


class CifarStemResNet(nn.Module):
    """A 3x3 convolution, four stages of basic blocks or bottlenecks, and a linear classifier.

    Args:
        depth: 18, 34, 50, 101 or 152.
        num_classes: Width of the classifier.
        in_channels: Channels of the images.
        width: Channels of the first stage; each later one has twice as many.

    Raises:
        ValueError: When there is no such depth.
    """

    def __init__(
        self, depth: int, num_classes: int = 10, in_channels: int = 3, width: int = 64
    ) -> None:
        super().__init__()
        if depth not in _BLOCKS:
            raise ValueError(f"depth {depth!r}; expected one of {', '.join(map(str, _BLOCKS))}")
        self.conv1 = nn.Conv2d(in_channels, width, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU()
        wide = width
        for stage, blocks in enumerate(_BLOCKS[depth]):
            channels, stride = width << stage, 1 if stage == 0 else 2
            layer = nn.Sequential()
            for number in range(blocks):
                block, wide = _block(depth, wide, channels, stride if number == 0 else 1)
                layer.append(block)
            self.add_module(f"layer{stage + 1}", layer)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.linear = nn.Linear(wide, num_classes)
        he_initialize(self)

    def forward(self, x: Tensor) -> Tensor:
        """Map images (N, in_channels, 32, 32) to logits (N, num_classes)."""
        x = self.relu(self.bn1(self.conv1(x)))
        for stage in range(1, 5):
            x = self.get_submodule(f"layer{stage}")(x)
        out: Tensor = self.linear(self.avgpool(x).flatten(1))
        return out


def _block(depth: int, in_channels: int, channels: int, stride: int) -> tuple[nn.Module, int]:
    """A block of a depth, and the channels that go out of it."""
    if depth >= _FIRST_BOTTLENECK:
        return CifarStemBottleneck(in_channels, channels, stride), 4 * channels
    block = BasicBlock(in_channels, channels, stride)
    if not isinstance(block.shortcut, nn.Identity):
        block.shortcut = projection(in_channels, channels, stride)
    return block, channels


FAMILY: tuple[Architecture, ...] = tuple(
    Architecture(
        name=f"cifar_resnet{depth}",
        library="ensembles",
        build=partial(CifarStemResNet, depth=depth),
        input_size=(3, 32, 32),
        num_classes=10,
        paper="He et al. 2015, arXiv 1512.03385; kuangliu/pytorch-cifar",
        family="resnet",
    )
    for depth in _BLOCKS
)
