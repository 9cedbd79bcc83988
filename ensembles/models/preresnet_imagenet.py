"""ResNet-200 with pre-activation for ImageNet (He et al. 2016, arXiv 1603.05027, table 5).

3 + 24 + 36 + 3 bottlenecks; the first block of each stage applies its BatchNorm and ReLU to branch
and shortcut. As in public versions with 64,666,280 parameters, the stem has BatchNorm
and ReLU of its own. The error is that of fb.resnet.torch on 224x224 images; the paper has 320x320
(20.7).
"""

from __future__ import annotations

from collections import OrderedDict
from functools import partial

from torch import nn

from .parts import Architecture, he_initialize, pooled_classifier, stages
from .preresnet import PreActBottleneck

__all__ = ["FAMILY", "PreResNet"]


class PreResNet(nn.Sequential):
    """A convolution and pooling, four stages of pre-activation bottlenecks, linear classifier.

    Args:
        blocks: Blocks of each stage; three weight layers each.
        width: Channels of the first convolution.
        num_classes: Width of the classifier.
        in_channels: Channels of the images.
    """

    def __init__(
        self,
        blocks: tuple[int, ...] = (3, 24, 36, 3),
        width: int = 64,
        num_classes: int = 1000,
        in_channels: int = 3,
    ) -> None:
        expansion = PreActBottleneck.expansion

        def block(incoming: int, outgoing: int, stride: int) -> PreActBottleneck:
            changes = stride != 1 or incoming != outgoing
            return PreActBottleneck(incoming, outgoing // expansion, stride, changes)

        channels = [[expansion * width * 2**i] * count for i, count in enumerate(blocks)]
        last = channels[-1][-1]
        super().__init__(
            OrderedDict(
                conv1=nn.Conv2d(in_channels, width, 7, 2, 3, bias=False),
                bn1=nn.BatchNorm2d(width),
                relu1=nn.ReLU(),
                pool=nn.MaxPool2d(3, 2, 1),
                **stages(block, width, channels),
                bn=nn.BatchNorm2d(last),
                relu=nn.ReLU(),
                **pooled_classifier(last, num_classes),
            )
        )
        he_initialize(self)


FAMILY: tuple[Architecture, ...] = (
    Architecture(
        name="preresnet200",
        library="ensembles",
        build=partial(PreResNet),
        input_size=(3, 224, 224),
        num_classes=1000,
        paper="He et al. 2016, arXiv 1603.05027 (error: fb.resnet.torch)",
        published_error=21.66,
        published_on="ImageNet top-1",
        family="preresnet",
    ),
)
