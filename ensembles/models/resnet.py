"""The CIFAR residual networks of He et al. 2015 (arXiv 1512.03385, section 4.2)."""

from __future__ import annotations

from functools import partial

from torch import Tensor, nn

from .parts import Architecture, ResidualBlock, ZeroPadShortcut, he_initialize, require_depth

__all__ = ["FAMILY", "BasicBlock", "CifarResNet"]


class BasicBlock(ResidualBlock):
    """Two 3x3 convolutions, an option-A shortcut, and a ReLU after the addition.

    Args:
        in_channels: Channels that come in.
        channels: Channels that go out.
        stride: Stride of the first convolution.
    """

    def __init__(self, in_channels: int, channels: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, channels, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.relu1 = nn.ReLU()
        self.conv2 = nn.Conv2d(channels, channels, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        same = stride == 1 and in_channels == channels
        self.shortcut = nn.Identity() if same else ZeroPadShortcut(in_channels, channels, stride)
        self.relu2 = nn.ReLU()

    @property
    def branch_end(self) -> nn.Module:
        """The second BatchNorm."""
        return self.bn2

    def branch(self, x: Tensor) -> Tensor:
        """Convolution, BatchNorm, ReLU, convolution, BatchNorm."""
        out: Tensor = self.bn2(self.conv2(self.relu1(self.bn1(self.conv1(x)))))
        return out

    def post(self, x: Tensor) -> Tensor:
        """ReLU after the addition."""
        out: Tensor = self.relu2(x)
        return out


class CifarResNet(nn.Module):
    """6n + 2 layers: a convolution, three stages of n basic blocks, and a linear classifier.

    Module names are those of the public checkpoints of akamaster/pytorch_resnet_cifar10.

    Args:
        depth: Number of weight layers, 6n + 2.
        num_classes: Width of the classifier.
        in_channels: Channels of the images.
        width: Channels of the first stage; the others have twice and four times as many.

    Raises:
        ValueError: When ``depth`` is not 6n + 2.
    """

    def __init__(
        self, depth: int, num_classes: int = 10, in_channels: int = 3, width: int = 16
    ) -> None:
        super().__init__()
        blocks = require_depth(depth, 2, 2)
        self.conv1 = nn.Conv2d(in_channels, width, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU()
        self.layer1 = _stage(width, width, blocks, 1)
        self.layer2 = _stage(width, 2 * width, blocks, 2)
        self.layer3 = _stage(2 * width, 4 * width, blocks, 2)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.linear = nn.Linear(4 * width, num_classes)
        he_initialize(self)

    def forward(self, x: Tensor) -> Tensor:
        """Map images (N, in_channels, 32, 32) to logits (N, num_classes)."""
        x = self.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        out: Tensor = self.linear(self.avgpool(x).flatten(1))
        return out


def _stage(in_channels: int, channels: int, blocks: int, stride: int) -> nn.Sequential:
    first = BasicBlock(in_channels, channels, stride)
    return nn.Sequential(first, *(BasicBlock(channels, channels) for _ in range(blocks - 1)))


_PUBLISHED = {20: 8.75, 32: 7.51, 44: 7.17, 56: 6.97, 110: 6.43, 1202: 7.93}
_STOCHASTIC_DEPTH = {110: 5.25, 1202: 4.91}


def _architecture(depth: int, name: str, paper: str, error: float) -> Architecture:
    return Architecture(
        name=name,
        library="ensembles",
        build=partial(CifarResNet, depth=depth),
        input_size=(3, 32, 32),
        num_classes=10,
        paper=paper,
        published_error=error,
        family="resnet",
    )


_HUANG = "Huang et al. 2016, arXiv 1603.09382 (the same network, trained with --stochastic-depth)"

FAMILY: tuple[Architecture, ...] = (
    *(
        _architecture(depth, f"resnet{depth}", "He et al. 2015, arXiv 1512.03385", error)
        for depth, error in _PUBLISHED.items()
    ),
    *(
        _architecture(depth, f"resnet{depth}-stochastic-depth", _HUANG, error)
        for depth, error in _STOCHASTIC_DEPTH.items()
    ),
)
