"""Wide residual networks for CIFAR (Zagoruyko and Komodakis 2016, arXiv 1605.07146, table 1).

Pre-activation blocks of two 3x3 convolutions; where the shape changes, BatchNorm and ReLU come
before branch and shortcut, and the shortcut is a 1x1 convolution, as in the authors' code. Without
dropout.
"""

from __future__ import annotations

from collections import OrderedDict
from functools import partial

from torch import nn

from .parts import Architecture, he_initialize, pooled_classifier, stages
from .preresnet import PreActBasicBlock

__all__ = ["FAMILY", "CifarWideResNet"]


class WideBlock(PreActBasicBlock):
    """A pre-activation block that projects where the shape changes.

    Args:
        in_channels: Channels that come in.
        channels: Channels that go out.
        stride: Stride of the first convolution.
    """

    def __init__(self, in_channels: int, channels: int, stride: int) -> None:
        changes = stride != 1 or in_channels != channels
        projection = nn.Conv2d(in_channels, channels, 1, stride, bias=False) if changes else None
        super().__init__(in_channels, channels, stride, changes, projection)


class CifarWideResNet(nn.Sequential):
    """6n + 4 layers: a convolution, three stages of n wide blocks, and a linear classifier.

    Args:
        depth: Number of weight layers, 6n + 4, counting the shortcut of each stage.
        widening: Factor on the channels of all blocks.
        width: Channels of the first convolution.
        num_classes: Width of the classifier.
        in_channels: Channels of the images.
        widths: Channels of each stage, in place of ``widening``.

    Raises:
        ValueError: When ``depth`` is not 6n + 4.
    """

    def __init__(
        self,
        depth: int,
        widening: int = 1,
        width: int = 16,
        num_classes: int = 10,
        in_channels: int = 3,
        *,
        widths: tuple[int, ...] | None = None,
    ) -> None:
        blocks, left = divmod(depth - 4, 6)
        if left or blocks < 1:
            raise ValueError(f"depth {depth} is not 6n+4; take for example 28")
        wide = widths or tuple(widening * width * 2**stage for stage in range(3))
        channels = [[one] * blocks for one in wide]
        last = channels[-1][-1]
        super().__init__(
            OrderedDict(
                conv1=nn.Conv2d(in_channels, width, 3, 1, 1, bias=False),
                **stages(WideBlock, width, channels),
                bn=nn.BatchNorm2d(last),
                relu=nn.ReLU(),
                **pooled_classifier(last, num_classes),
            )
        )
        he_initialize(self)


_PUBLISHED = {(28, 10): 4.00, (16, 8): 4.27, (40, 4): 4.53}

FAMILY: tuple[Architecture, ...] = tuple(
    Architecture(
        name=f"wrn-{depth}-{widening}",
        library="ensembles",
        build=partial(CifarWideResNet, depth=depth, widening=widening),
        input_size=(3, 32, 32),
        num_classes=10,
        paper="Zagoruyko and Komodakis 2016, arXiv 1605.07146",
        published_error=error,
        family="wide",
    )
    for (depth, widening), error in _PUBLISHED.items()
)
