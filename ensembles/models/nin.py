"""Network in Network for CIFAR (Lin, Chen and Yan 2013, arXiv 1312.4400, section 4.2).

Three stages, each a convolution and two of 1x1 over its channels; the last has one map for each
class, and its mean over all positions is the logit. Sizes are those of the authors' configuration
for Caffe. ``nin_bn`` has BatchNorm after every convolution, which the paper has not.
"""

from __future__ import annotations

from functools import partial

from torch import nn

from .parts import Architecture, he_initialize

__all__ = ["FAMILY", "NetworkInNetwork"]


class NetworkInNetwork(nn.Sequential):
    """Nine convolutions with ReLU, and the mean of each class's map.

    Args:
        channels: Channels of the three convolutions of each stage; the last stage has two, and
            the maps of the classes.
        norm: Whether BatchNorm follows every convolution.
        dropout: Probability of dropping a value between stages while training.
        num_classes: Number of classes.
        in_channels: Channels of the images.
    """

    def __init__(
        self,
        channels: tuple[tuple[int, ...], ...] = ((192, 160, 96), (192, 192, 192), (192, 192)),
        norm: bool = False,
        dropout: float = 0.5,
        num_classes: int = 10,
        in_channels: int = 3,
    ) -> None:
        pools = (None, nn.MaxPool2d, nn.AvgPool2d)
        widths = (*channels[:-1], (*channels[-1], num_classes))
        parts: list[nn.Module] = []
        for pool, kernel, stage in zip(pools, (5, 5, 3), widths, strict=True):
            if pool is not None:
                parts += [pool(3, 2, ceil_mode=True), nn.Dropout(dropout)]
            for size, wide in zip((kernel, 1, 1), stage, strict=True):
                parts.append(nn.Conv2d(in_channels, wide, size, padding=size // 2))
                parts += [nn.BatchNorm2d(wide)] if norm else []
                parts.append(nn.ReLU())
                in_channels = wide
        super().__init__(*parts, nn.AdaptiveAvgPool2d(1), nn.Flatten())
        he_initialize(self)


FAMILY: tuple[Architecture, ...] = tuple(
    Architecture(
        name=name,
        library="ensembles",
        build=partial(NetworkInNetwork, norm=norm),
        input_size=(3, 32, 32),
        num_classes=10,
        paper="Lin et al. 2013, arXiv 1312.4400",
        published_error=error,
        family="nin",
    )
    for name, norm, error in (("nin", False, 8.81), ("nin_bn", True, None))
)
