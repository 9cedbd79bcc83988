"""The CIFAR pre-activation networks of He et al. 2016 (arXiv 1603.05027) and the lesion paper.

The first block of every stage, also of the first one, applies its BatchNorm and ReLU to branch
and shortcut (``both_preact`` in fb.resnet.torch), so that its shortcut is no identity
of the block's input; the others apply them to the branch only.

Depths count weight layers: ``preresnet110`` has 54 basic blocks, ``preresnet164`` 54 bottlenecks. A
well-known public "PreResNet-110" (bearpaw/pytorch-classification) takes bottlenecks from depth 44
on, as many as there would be basic blocks: it has 164 layers, and its projections see the block's
input, not the activation.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from torch import Tensor, nn

from .parts import Architecture, ResidualBlock, ZeroPadShortcut, he_initialize, require_depth

__all__ = ["FAMILY", "CifarPreResNet", "PreActBasicBlock", "PreActBottleneck"]


class PreActBlock(ResidualBlock):
    """What the two kinds of pre-activation block share: BatchNorm and ReLU come first.

    Args:
        in_channels: Channels that come in.
        shortcut: The shortcut beside the branch.
        activates_both: Whether the first BatchNorm and ReLU act on branch and shortcut.
    """

    def __init__(self, in_channels: int, shortcut: nn.Module, activates_both: bool) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(in_channels)
        self.relu1 = nn.ReLU()
        self.shortcut = shortcut
        self.activates_both = activates_both

    def activate(self, x: Tensor) -> Tensor:
        """The first BatchNorm and ReLU."""
        out: Tensor = self.relu1(self.bn1(x))
        return out

    def pre(self, x: Tensor) -> Tensor:
        """The activation in the first block of a stage, otherwise nothing."""
        return self.activate(x) if self.activates_both else x

    def branch(self, x: Tensor) -> Tensor:
        """The activation, unless ``pre`` applied it, and the convolutions."""
        return self.convolve(x if self.activates_both else self.activate(x))

    def convolve(self, x: Tensor) -> Tensor:
        """The convolutions with the activations between them."""
        raise AttributeError(f"{type(self).__name__} has no convolutions")


class PreActBasicBlock(PreActBlock):
    """Two 3x3 convolutions; unless another is given, the shortcut is of option A.

    Args:
        in_channels: Channels that come in.
        channels: Channels that go out.
        stride: Stride of the first convolution.
        first: Whether this is the first block of its stage.
        shortcut: The shortcut, in place of option A.
    """

    expansion = 1

    def __init__(
        self,
        in_channels: int,
        channels: int,
        stride: int,
        first: bool,
        shortcut: nn.Module | None = None,
    ) -> None:
        if shortcut is None:
            same = stride == 1 and in_channels == channels
            shortcut = nn.Identity() if same else ZeroPadShortcut(in_channels, channels, stride)
        super().__init__(in_channels, shortcut, first)
        self.conv1 = nn.Conv2d(in_channels, channels, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.relu2 = nn.ReLU()
        self.conv2 = nn.Conv2d(channels, channels, 3, 1, 1, bias=False)

    @property
    def branch_end(self) -> nn.Module:
        """The second convolution."""
        return self.conv2

    def convolve(self, x: Tensor) -> Tensor:
        """Convolution, BatchNorm, ReLU, convolution."""
        out: Tensor = self.conv2(self.relu2(self.bn2(self.conv1(x))))
        return out


class PreActBottleneck(PreActBlock):
    """Convolutions of 1x1, 3x3 and 1x1; the shortcut projects where the shape changes.

    Args:
        in_channels: Channels that come in.
        channels: Channels of the 3x3 convolution; four times as many go out.
        stride: Stride of the 3x3 convolution.
        first: Whether this is the first block of its stage.
    """

    expansion = 4

    def __init__(self, in_channels: int, channels: int, stride: int, first: bool) -> None:
        wide = self.expansion * channels
        same = stride == 1 and in_channels == wide
        projection = nn.Conv2d(in_channels, wide, 1, stride, bias=False)
        super().__init__(in_channels, nn.Identity() if same else projection, first)
        self.conv1 = nn.Conv2d(in_channels, channels, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.relu2 = nn.ReLU()
        self.conv2 = nn.Conv2d(channels, channels, 3, stride, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(channels)
        self.relu3 = nn.ReLU()
        self.conv3 = nn.Conv2d(channels, wide, 1, bias=False)

    @property
    def branch_end(self) -> nn.Module:
        """The last 1x1 convolution."""
        return self.conv3

    def convolve(self, x: Tensor) -> Tensor:
        """The three convolutions, with BatchNorm and ReLU between them."""
        x = self.conv2(self.relu2(self.bn2(self.conv1(x))))
        out: Tensor = self.conv3(self.relu3(self.bn3(x)))
        return out


class CifarPreResNet(nn.Module):
    """A convolution, three stages of n pre-activation blocks, BatchNorm, ReLU, pooling, linear.

    Args:
        depth: Number of weight layers: 6n + 2 with basic blocks, 9n + 2 with bottlenecks.
        bottleneck: Whether the blocks are bottlenecks.
        num_classes: Width of the classifier.
        in_channels: Channels of the images.
        width: Channels of the first convolution; the second and third stage double them.
        widths: Channels of each stage, in place of ``width``; none less than the one before where
            the blocks are basic.

    Raises:
        ValueError: When ``depth`` does not fit the kind of block.
    """

    def __init__(
        self,
        depth: int,
        bottleneck: bool = False,
        num_classes: int = 10,
        in_channels: int = 3,
        width: int = 16,
        *,
        widths: tuple[int, int, int] | None = None,
    ) -> None:
        super().__init__()
        make: Callable[[int, int, int, bool], ResidualBlock]
        make = PreActBottleneck if bottleneck else PreActBasicBlock
        expansion = PreActBottleneck.expansion if bottleneck else PreActBasicBlock.expansion
        blocks = require_depth(depth, 2, 3 if bottleneck else 2)

        def stage(incoming: int, channels: int, stride: int) -> nn.Sequential:
            first = make(incoming, channels, stride, True)
            rest = (make(expansion * channels, channels, 1, False) for _ in range(blocks - 1))
            return nn.Sequential(first, *rest)

        first, second, third = widths or (width, 2 * width, 4 * width)
        self.conv1 = nn.Conv2d(in_channels, first, 3, 1, 1, bias=False)
        self.layer1 = stage(first, first, 1)
        self.layer2 = stage(first * expansion, second, 2)
        self.layer3 = stage(second * expansion, third, 2)
        self.bn = nn.BatchNorm2d(third * expansion)
        self.relu = nn.ReLU()
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.linear = nn.Linear(third * expansion, num_classes)
        he_initialize(self)

    def forward(self, x: Tensor) -> Tensor:
        """Map images (N, in_channels, 32, 32) to logits (N, num_classes)."""
        x = self.layer3(self.layer2(self.layer1(self.conv1(x))))
        out: Tensor = self.linear(self.avgpool(self.relu(self.bn(x))).flatten(1))
        return out


_PUBLISHED: dict[int, float | None] = {
    20: None,
    32: None,
    44: None,
    56: None,
    110: 6.37,
    164: 5.46,
    1001: 4.92,
}
_BOTTLENECKS = (164, 1001)

FAMILY: tuple[Architecture, ...] = tuple(
    Architecture(
        name=f"preresnet{depth}",
        library="ensembles",
        build=partial(CifarPreResNet, depth=depth, bottleneck=depth in _BOTTLENECKS),
        input_size=(3, 32, 32),
        num_classes=10,
        paper="He et al. 2016, arXiv 1603.05027",
        published_error=error,
        family="preresnet",
    )
    for depth, error in _PUBLISHED.items()
)
