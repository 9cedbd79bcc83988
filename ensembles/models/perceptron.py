"""Fully connected networks on small images: hidden layers with BatchNorm and ReLU."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from itertools import pairwise

from torch import nn

from .parts import he_initialize

__all__ = ["PERCEPTRON_SIDE", "Perceptron"]

PERCEPTRON_SIDE = 8
"""Images are averaged to so many pixels on each side: else nearly all weights are in layer one."""


class Perceptron(nn.Sequential):
    """Images averaged to 8 x 8 pixels, hidden layers, and a linear classifier.

    Args:
        hidden: Units of each hidden layer.
        num_classes: Width of the classifier.
        in_channels: Channels of the images.
    """

    def __init__(self, hidden: Sequence[int], num_classes: int = 10, in_channels: int = 3) -> None:
        units = (in_channels * PERCEPTRON_SIDE**2, *hidden)
        layers: dict[str, nn.Module] = {
            f"hidden{place}": nn.Sequential(
                nn.Linear(narrow, wide, bias=False), nn.BatchNorm1d(wide), nn.ReLU()
            )
            for place, (narrow, wide) in enumerate(pairwise(units), 1)
        }
        super().__init__(
            OrderedDict(
                avgpool=nn.AdaptiveAvgPool2d(PERCEPTRON_SIDE),
                flatten=nn.Flatten(),
                **layers,
                linear=nn.Linear(units[-1], num_classes),
            )
        )
        he_initialize(self)
