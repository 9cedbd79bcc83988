"""BN-Inception (Ioffe and Szegedy 2015, arXiv 1502.03167, figure 5), also called Inception-v2.

Ten blocks of branches side by side, with two 3x3 convolutions where GoogLeNet has one of 5x5, and
BatchNorm after every convolution. Deviations, as in the authors' public weights for Caffe and their
ports: the first convolution is an ordinary one, convolutions have biases beside their BatchNorm,
there is no auxiliary classifier, and 11,295,240 parameters.
"""

from __future__ import annotations

from collections import OrderedDict
from functools import partial
from typing import NamedTuple

from torch import nn

from .parts import Architecture, SideBySide, conv_unit, he_initialize, pooled_classifier

__all__ = ["FAMILY", "BNInception"]


class _Widths(NamedTuple):
    """Channels of one block: 0 leaves a branch out, and the block then halves the resolution."""

    one: int
    reduce: int
    three: int
    double_reduce: int
    double: int
    pooled: int


_BLOCKS = {
    "inception3a": _Widths(64, 64, 64, 64, 96, 32),
    "inception3b": _Widths(64, 64, 96, 64, 96, 64),
    "inception3c": _Widths(0, 128, 160, 64, 96, 0),
    "inception4a": _Widths(224, 64, 96, 96, 128, 128),
    "inception4b": _Widths(192, 96, 128, 96, 128, 128),
    "inception4c": _Widths(160, 128, 160, 128, 160, 128),
    "inception4d": _Widths(96, 128, 192, 160, 192, 128),
    "inception4e": _Widths(0, 128, 192, 192, 256, 0),
    "inception5a": _Widths(352, 192, 320, 160, 224, 128),
    "inception5b": _Widths(352, 192, 320, 192, 224, 128),
}


def _shrink() -> nn.MaxPool2d:
    return nn.MaxPool2d(3, 2, ceil_mode=True)


def _block(width: int, block: _Widths, max_pool: bool) -> tuple[SideBySide, int]:
    """The branches of a block, and the channels that they have together."""
    unit = partial(conv_unit, bias=True)
    stride = 1 if block.pooled else 2
    three = nn.Sequential(
        unit(width, block.reduce, 1), unit(block.reduce, block.three, 3, stride=stride, padding=1)
    )
    double = nn.Sequential(
        unit(width, block.double_reduce, 1),
        unit(block.double_reduce, block.double, 3, padding=1),
        unit(block.double, block.double, 3, stride=stride, padding=1),
    )
    if not block.pooled:
        return SideBySide(three, double, _shrink()), block.three + block.double + width
    pool = nn.MaxPool2d(3, 1, 1) if max_pool else nn.AvgPool2d(3, 1, 1)
    pooled = nn.Sequential(pool, unit(width, block.pooled, 1))
    made = SideBySide(unit(width, block.one, 1), three, double, pooled)
    return made, block.one + block.three + block.double + block.pooled


class BNInception(nn.Sequential):
    """Three convolutions, ten blocks of parallel branches, and a linear classifier.

    Args:
        width: Factor on the channels of every convolution.
        num_classes: Width of the classifier.
        in_channels: Channels of the images.
    """

    def __init__(self, width: float = 1.0, num_classes: int = 1000, in_channels: int = 3) -> None:
        def scaled(channels: int) -> int:
            return max(1, round(channels * width)) if channels else 0

        unit = partial(conv_unit, bias=True)
        first, channels = scaled(64), scaled(192)
        parts: dict[str, nn.Module] = {
            "conv1": unit(in_channels, first, 7, stride=2, padding=3),
            "pool1": _shrink(),
            "conv2": unit(first, first, 1),
            "conv3": unit(first, channels, 3, padding=1),
            "pool2": _shrink(),
        }
        for name, widths in _BLOCKS.items():
            own = _Widths(*map(scaled, widths))
            parts[name], channels = _block(channels, own, name == "inception5b")
        super().__init__(OrderedDict(**parts, **pooled_classifier(channels, num_classes)))
        he_initialize(self)


FAMILY: tuple[Architecture, ...] = (
    Architecture(
        name="bn_inception",
        library="ensembles",
        build=partial(BNInception),
        input_size=(3, 224, 224),
        num_classes=1000,
        paper="Ioffe and Szegedy 2015, arXiv 1502.03167",
        published_error=25.2,
        published_on="ImageNet top-1",
        family="inception",
    ),
)
