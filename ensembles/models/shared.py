"""Residual networks whose blocks share their weights over time.

Liao and Poggio 2016 (arXiv 1604.03640): a residual network with one block for all depths is a
recurrent network, unrolled. Here in the pre-activation network of the lesion paper: after the first
block of a stage, which changes the shape, one block is applied again and again. The paper's
time-specific BatchNorm, a layer of its own for each step, is an option. Deviation: the paper's
several recurrent states that feed each other are a chain of three stages here.
"""

from __future__ import annotations

from functools import partial

from torch import Tensor, nn

from .parts import Architecture, he_initialize, require_depth
from .preresnet import PreActBasicBlock

__all__ = ["FAMILY", "CifarSharedResNet", "SharedBlock"]


class SharedBlock(nn.Module):
    """One pre-activation block, applied at several time steps.

    Args:
        channels: Channels that come in and go out.
        norms: How many BatchNorm layers there are in each place: one for each step, or one.
    """

    def __init__(self, channels: int, norms: int) -> None:
        super().__init__()
        self.bn1 = nn.ModuleList(nn.BatchNorm2d(channels) for _ in range(norms))
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.ModuleList(nn.BatchNorm2d(channels) for _ in range(norms))
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.relu = nn.ReLU()

    def forward(self, x: Tensor, step: int) -> Tensor:
        """Map (N, channels, H, W) to the same shape, with the norms of a step, from 0."""
        own = step % len(self.bn1)
        y = self.conv1(self.relu(self.bn1[own](x)))
        out: Tensor = x + self.conv2(self.relu(self.bn2[own](y)))
        return out


class SharedStage(nn.Module):
    """A block that changes the shape, and one that is applied at every step.

    Args:
        in_channels: Channels that come in.
        channels: Channels that go out.
        stride: Stride of the first block.
        steps: How often the shared block is applied.
        step_norms: Whether each step has BatchNorm layers of its own.
    """

    def __init__(
        self, in_channels: int, channels: int, stride: int, steps: int, step_norms: bool
    ) -> None:
        super().__init__()
        self.steps = steps
        self.first = PreActBasicBlock(in_channels, channels, stride, True)
        self.block = SharedBlock(channels, steps if step_norms else 1) if steps else None

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, in_channels, H, W) to (N, channels, H / stride, W / stride)."""
        x = self.first(x)
        for step in range(self.steps):
            assert self.block is not None
            x = self.block(x, step)
        return x


class CifarSharedResNet(nn.Module):
    """6n + 2 layers in time: a convolution, three stages of n blocks in time, linear classifier.

    Args:
        depth: Number of weight layers that an image passes, 6n + 2.
        step_norms: Whether each step has BatchNorm layers of its own.
        width: Channels of the first stage.
        num_classes: Width of the classifier.
        in_channels: Channels of the images.

    Raises:
        ValueError: When ``depth`` is not 6n + 2.
    """

    def __init__(
        self,
        depth: int,
        step_norms: bool = True,
        width: int = 16,
        num_classes: int = 10,
        in_channels: int = 3,
    ) -> None:
        super().__init__()
        steps = require_depth(depth, 2, 2) - 1
        self.conv1 = nn.Conv2d(in_channels, width, 3, 1, 1, bias=False)
        self.layer1 = SharedStage(width, width, 1, steps, step_norms)
        self.layer2 = SharedStage(width, 2 * width, 2, steps, step_norms)
        self.layer3 = SharedStage(2 * width, 4 * width, 2, steps, step_norms)
        self.bn = nn.BatchNorm2d(4 * width)
        self.relu = nn.ReLU()
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.linear = nn.Linear(4 * width, num_classes)
        he_initialize(self)

    def forward(self, x: Tensor) -> Tensor:
        """Map images (N, in_channels, 32, 32) to logits (N, num_classes)."""
        x = self.layer3(self.layer2(self.layer1(self.conv1(x))))
        out: Tensor = self.linear(self.avgpool(self.relu(self.bn(x))).flatten(1))
        return out


FAMILY: tuple[Architecture, ...] = tuple(
    Architecture(
        name=f"shared_resnet{depth}",
        library="ensembles",
        build=partial(CifarSharedResNet, depth=depth),
        input_size=(3, 32, 32),
        num_classes=10,
        paper="Liao and Poggio 2016, arXiv 1604.03640",
    )
    for depth in (20, 32, 56, 110)
)
