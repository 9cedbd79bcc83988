"""CIFAR residual networks with projection shortcuts (option B of He et al. 2015, section 3.3)."""

from __future__ import annotations

from functools import partial

from torch import nn

from .parts import Architecture, ZeroPadShortcut, he_initialize, residual_blocks
from .resnet import CifarResNet

__all__ = ["FAMILY", "CifarProjectionResNet", "projection"]


class CifarProjectionResNet(CifarResNet):
    """A CIFAR residual network whose transitions have a 1x1 convolution with BatchNorm.

    Args:
        depth: Number of weight layers on the path through all branches, 6n + 2.
        num_classes: Width of the classifier.
        in_channels: Channels of the images.
        width: Channels of the first stage; the others have twice and four times as many.

    Raises:
        ValueError: When ``depth`` is not 6n + 2.
    """

    def __init__(
        self, depth: int, num_classes: int = 10, in_channels: int = 3, width: int = 16
    ) -> None:
        super().__init__(depth, num_classes, in_channels, width)
        for block in residual_blocks(self):
            if isinstance(block.shortcut, ZeroPadShortcut):
                first = block.get_submodule("conv1")
                assert isinstance(first, nn.Conv2d)
                block.shortcut = projection(first.in_channels, first.out_channels, first.stride[0])


def projection(in_channels: int, out_channels: int, stride: int) -> nn.Sequential:
    """A shortcut of a 1x1 convolution and BatchNorm."""
    shortcut = nn.Sequential(
        nn.Conv2d(in_channels, out_channels, 1, stride, bias=False),
        nn.BatchNorm2d(out_channels),
    )
    he_initialize(shortcut)
    return shortcut


FAMILY: tuple[Architecture, ...] = tuple(
    Architecture(
        name=f"resnet{depth}_b",
        library="ensembles",
        build=partial(CifarProjectionResNet, depth=depth),
        input_size=(3, 32, 32),
        num_classes=10,
        paper="He et al. 2015, arXiv 1512.03385; chenyaofo/pytorch-cifar-models",
        family="resnet",
    )
    for depth in (20, 32, 44, 56, 110)
)
