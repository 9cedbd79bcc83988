"""LeNet-5 (LeCun, Bottou, Bengio and Haffner 1998, figure 2).

Deviations, as in most public versions: every map of the second convolution sees all maps of the
first, pooling has no parameters, and the classifier is linear, not of radial basis functions.
"""

from __future__ import annotations

from collections import OrderedDict
from functools import partial

from torch import nn

from .parts import Architecture, he_initialize

__all__ = ["FAMILY", "LeNet5"]


class LeNet5(nn.Sequential):
    """Two convolutions with tanh and mean pooling, and three linear layers.

    The paper's images are grey, 32x32: 61,706 parameters with ``in_channels=1``. Other sizes are
    averaged to the 5x5 positions that the linear layers take.

    Args:
        channels: Maps of the two convolutions.
        hidden: Widths of the linear layers before the classifier.
        num_classes: Width of the classifier.
        in_channels: Channels of the images.
    """

    def __init__(
        self,
        channels: tuple[int, int] = (6, 16),
        hidden: tuple[int, int] = (120, 84),
        num_classes: int = 10,
        in_channels: int = 3,
    ) -> None:
        super().__init__(
            OrderedDict(
                conv1=nn.Conv2d(in_channels, channels[0], 5),
                tanh1=nn.Tanh(),
                pool1=nn.AvgPool2d(2),
                conv2=nn.Conv2d(channels[0], channels[1], 5),
                tanh2=nn.Tanh(),
                pool2=nn.AvgPool2d(2),
                resize=nn.AdaptiveAvgPool2d(5),
                flatten=nn.Flatten(),
                linear1=nn.Linear(25 * channels[1], hidden[0]),
                tanh3=nn.Tanh(),
                linear2=nn.Linear(hidden[0], hidden[1]),
                tanh4=nn.Tanh(),
                linear3=nn.Linear(hidden[1], num_classes),
            )
        )
        he_initialize(self)


FAMILY: tuple[Architecture, ...] = (
    Architecture(
        name="lenet5",
        library="ensembles",
        build=partial(LeNet5),
        input_size=(3, 32, 32),
        num_classes=10,
        paper="LeCun et al. 1998, Proceedings of the IEEE 86(11)",
        published_error=0.95,
        published_on="MNIST",
        family="lenet",
    ),
)
