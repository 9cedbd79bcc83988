"""Inception-ResNet-v1 (Szegedy et al. 2016, arXiv 1602.07261, figures 10 to 14 and section 3.3).

Residual blocks whose branch is an Inception block and a linear 1x1 convolution, scaled before the
addition. Deviation: 23,995,624 parameters, as in the public networks that go back to FaceNet: after
the paper's 5 + 10 + 5 residual blocks stands a sixth of the last kind, neither scaled nor followed
by ReLU, and before the classifier a linear layer of 512 units with BatchNorm.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from functools import partial

from torch import Tensor, nn

from .parts import Architecture, ResidualBlock, SideBySide, conv_unit, he_initialize

__all__ = ["FAMILY", "InceptionResNetBlock", "InceptionResNetV1"]


class InceptionResNetBlock(ResidualBlock):
    """``relu(x + scale * conv(branches(x)))`` with a 1x1 convolution over the branches.

    Args:
        branches: Convolutions side by side.
        inner: Channels of the branches together.
        channels: Channels that come in and go out.
        scale: Factor on the branch.
        activates: Whether a ReLU follows the addition.
    """

    def __init__(
        self, branches: SideBySide, inner: int, channels: int, scale: float, activates: bool = True
    ) -> None:
        super().__init__()
        self.branches = branches
        self.conv = nn.Conv2d(inner, channels, 1)
        self.scale = scale
        self.shortcut = nn.Identity()
        self.relu = nn.ReLU() if activates else nn.Identity()

    @property
    def branch_end(self) -> nn.Module:
        """The 1x1 convolution."""
        return self.conv

    def branch(self, x: Tensor) -> Tensor:
        """The scaled Inception block."""
        out: Tensor = self.scale * self.conv(self.branches(x))
        return out

    def post(self, x: Tensor) -> Tensor:
        """ReLU after the addition, but for the last block."""
        out: Tensor = self.relu(x)
        return out


def _block_a(channels: int, scaled: Callable[[int], int]) -> InceptionResNetBlock:
    """Inception-ResNet-A on the 35x35 grid (figure 10)."""
    n = scaled(32)
    branches = SideBySide(
        conv_unit(channels, n, 1),
        nn.Sequential(conv_unit(channels, n, 1), conv_unit(n, n, 3, padding=1)),
        nn.Sequential(
            conv_unit(channels, n, 1), conv_unit(n, n, 3, padding=1), conv_unit(n, n, 3, padding=1)
        ),
    )
    return InceptionResNetBlock(branches, 3 * n, channels, 0.17)


def _factored(channels: int, n: int, size: int) -> SideBySide:
    """A 1x1 convolution beside one of size x size, factored into a row and a column."""
    return SideBySide(
        conv_unit(channels, n, 1),
        nn.Sequential(
            conv_unit(channels, n, 1),
            conv_unit(n, n, (1, size), padding=(0, size // 2)),
            conv_unit(n, n, (size, 1), padding=(size // 2, 0)),
        ),
    )


def _block_b(channels: int, scaled: Callable[[int], int]) -> InceptionResNetBlock:
    """Inception-ResNet-B on the 17x17 grid (figure 11)."""
    n = scaled(128)
    return InceptionResNetBlock(_factored(channels, n, 7), 2 * n, channels, 0.10)


def _block_c(
    channels: int, scaled: Callable[[int], int], scale: float = 0.20, activates: bool = True
) -> InceptionResNetBlock:
    """Inception-ResNet-C on the 8x8 grid (figure 13)."""
    n = scaled(192)
    return InceptionResNetBlock(_factored(channels, n, 3), 2 * n, channels, scale, activates)


def _reduction_a(channels: int, scaled: Callable[[int], int]) -> tuple[SideBySide, int]:
    """From 35x35 to 17x17 (figure 7, with the widths of table 1)."""
    wide, n, out = scaled(384), scaled(192), scaled(256)
    double = nn.Sequential(
        conv_unit(channels, n, 1), conv_unit(n, n, 3, padding=1), conv_unit(n, out, 3, stride=2)
    )
    made = SideBySide(conv_unit(channels, wide, 3, stride=2), double, nn.MaxPool2d(3, 2))
    return made, wide + out + channels


def _reduction_b(channels: int, scaled: Callable[[int], int]) -> tuple[SideBySide, int]:
    """From 17x17 to 8x8 (figure 12)."""
    n, wide = scaled(256), scaled(384)
    double = nn.Sequential(
        conv_unit(channels, n, 1), conv_unit(n, n, 3, padding=1), conv_unit(n, n, 3, stride=2)
    )
    made = SideBySide(
        nn.Sequential(conv_unit(channels, n, 1), conv_unit(n, wide, 3, stride=2)),
        nn.Sequential(conv_unit(channels, n, 1), conv_unit(n, n, 3, stride=2)),
        double,
        nn.MaxPool2d(3, 2),
    )
    return made, wide + 2 * n + channels


def _stem(in_channels: int, scaled: Callable[[int], int]) -> nn.Sequential:
    """From images of 299x299 to the 35x35 grid (figure 14)."""
    a, b, c, d, e = map(scaled, (32, 64, 80, 192, 256))
    return nn.Sequential(
        conv_unit(in_channels, a, 3, stride=2),
        conv_unit(a, a, 3),
        conv_unit(a, b, 3, padding=1),
        nn.MaxPool2d(3, 2),
        conv_unit(b, c, 1),
        conv_unit(c, d, 3),
        conv_unit(d, e, 3, stride=2),
    )


class InceptionResNetV1(nn.Sequential):
    """A stem, residual Inception blocks on three grids with reductions between, a classifier.

    Args:
        blocks: Residual blocks on each grid; the last grid has one more, which is not scaled.
        width: Factor on the channels of every convolution.
        hidden: Units of the linear layer before the classifier.
        dropout: Probability of dropping a value before that layer while training.
        num_classes: Width of the classifier.
        in_channels: Channels of the images.
    """

    def __init__(
        self,
        blocks: tuple[int, int, int] = (5, 10, 5),
        width: float = 1.0,
        *,
        hidden: int = 512,
        dropout: float = 0.2,
        num_classes: int = 1000,
        in_channels: int = 3,
    ) -> None:
        def scaled(channels: int) -> int:
            return max(1, round(channels * width))

        on_a = scaled(256)
        reduction_a, on_b = _reduction_a(on_a, scaled)
        reduction_b, on_c = _reduction_b(on_b, scaled)
        last = _block_c(on_c, scaled, 1.0, activates=False)
        super().__init__(
            OrderedDict(
                stem=_stem(in_channels, scaled),
                layer1=nn.Sequential(*(_block_a(on_a, scaled) for _ in range(blocks[0]))),
                reduction1=reduction_a,
                layer2=nn.Sequential(*(_block_b(on_b, scaled) for _ in range(blocks[1]))),
                reduction2=reduction_b,
                layer3=nn.Sequential(*(_block_c(on_c, scaled) for _ in range(blocks[2])), last),
                avgpool=nn.AdaptiveAvgPool2d(1),
                flatten=nn.Flatten(),
                dropout=nn.Dropout(dropout),
                hidden=nn.Linear(on_c, hidden, bias=False),
                bn=nn.BatchNorm1d(hidden),
                linear=nn.Linear(hidden, num_classes),
            )
        )
        he_initialize(self)


FAMILY: tuple[Architecture, ...] = (
    Architecture(
        name="inception_resnet_v1",
        library="ensembles",
        build=partial(InceptionResNetV1),
        input_size=(3, 299, 299),
        num_classes=1000,
        paper="Szegedy et al. 2016, arXiv 1602.07261",
        published_error=21.3,
        published_on="ImageNet top-1",
        family="inception",
    ),
)
