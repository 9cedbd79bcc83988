"""Plain CIFAR networks (He et al. 2015, arXiv 1512.03385, section 4.2): no shortcuts."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

from torch import nn

from .parts import conv_unit, he_initialize, pooled_classifier, require_depth, stages

__all__ = ["CifarPlainNet"]


class CifarPlainNet(nn.Sequential):
    """6n + 2 layers: a 3x3 convolution, three stages of 2n more, and a linear classifier.

    Each convolution is followed by BatchNorm and ReLU; the first of the second and third stage has
    stride 2. With the same widths it is :class:`~ensembles.models.resnet.CifarResNet` without its
    shortcuts.

    Args:
        depth: Number of weight layers, 6n + 2.
        widths: Channels of each stage.
        num_classes: Width of the classifier.
        in_channels: Channels of the images.

    Raises:
        ValueError: When ``depth`` is not 6n + 2.
    """

    def __init__(
        self, depth: int, widths: Sequence[int], num_classes: int = 10, in_channels: int = 3
    ) -> None:
        layers = 2 * require_depth(depth, 2, 2)
        super().__init__(
            OrderedDict(
                stem=_unit(in_channels, widths[0], 1),
                **stages(_unit, widths[0], [[wide] * layers for wide in widths]),
                **pooled_classifier(widths[-1], num_classes),
            )
        )
        he_initialize(self)


def _unit(in_channels: int, channels: int, stride: int) -> nn.Sequential:
    return conv_unit(in_channels, channels, 3, stride=stride, padding=1)
