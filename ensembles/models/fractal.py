"""FractalNet for CIFAR (Larsson, Maire and Shakhnarovich 2016, arXiv 1605.07648, table 1).

A fractal block of C columns expands ``f_(C+1)(z) = join(f_C(f_C(z)), conv(z))``: column c has
2^(c-1) convolutions, and a join is the mean of the branches that end there (figure 1). None of
them is the identity.

Deviation: 33,724,618 parameters, as in pytorchcv's public network with the paper's widths; the
paper states 38.6 million.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor, nn

from .parts import Architecture, he_initialize

__all__ = ["FAMILY", "CifarFractalNet", "FractalBlock"]


def join(roads: Sequence[Tensor]) -> Tensor:
    """The mean of the branches that meet (section 2)."""
    return torch.stack(list(roads)).mean(0) if len(roads) > 1 else roads[0]


class FractalBlock(nn.Module):
    """Columns of convolutions with joins where their lengths allow, and one join at the end.

    Args:
        in_channels: Channels that come in.
        channels: Channels that go out.
        columns: Number of columns; the longest has 2^(columns - 1) convolutions.
        dropout: Probability of dropping a value after each convolution while training.

    Attributes:
        only: The one column that runs, from 1, the shortest; None for all.
    """

    def __init__(self, in_channels: int, channels: int, columns: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.only: int | None = None

        def layer(first: bool) -> nn.Sequential:
            conv = nn.Conv2d(in_channels if first else channels, channels, 3, 1, 1, bias=False)
            return nn.Sequential(conv, nn.BatchNorm2d(channels), nn.ReLU(), nn.Dropout(dropout))

        self.count = columns
        self.columns = nn.ModuleList(
            nn.ModuleList(layer(i == 0) for i in range(2**column)) for column in range(columns)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, in_channels, H, W) to (N, channels, H, W)."""
        reached = [x] * self.count
        steps = 2 ** (self.count - 1)
        for step in range(1, steps + 1):
            ending = [
                column
                for column in range(self.count)
                if step % (steps >> column) == 0 and self.only in (None, column + 1)
            ]
            joined = [self._layer(column, step * 2**column // steps - 1) for column in ending]
            roads = [layer(reached[c]) for c, layer in zip(ending, joined, strict=True)]
            for column in ending:
                reached[column] = join(roads)
        return reached[-1 if self.only is None else self.only - 1]

    def _layer(self, column: int, place: int) -> nn.Module:
        found = self.columns[column]
        assert isinstance(found, nn.ModuleList)
        return found[place]


class CifarFractalNet(nn.Module):
    """Fractal blocks with max pooling after each, and a linear classifier.

    Args:
        channels: Channels of each block.
        columns: Columns of each block; the longest branch has ``blocks * 2^(columns - 1)`` layers.
        dropout: Dropout of the last block while training; the earlier ones have evenly less.
        num_classes: Width of the classifier.
        in_channels: Channels of the images.
    """

    def __init__(
        self,
        channels: tuple[int, ...] = (64, 128, 256, 512, 512),
        columns: int = 3,
        dropout: float = 0.4,
        num_classes: int = 10,
        in_channels: int = 3,
    ) -> None:
        super().__init__()
        parts: list[nn.Module] = []
        width = in_channels
        for i, wide in enumerate(channels):
            share = dropout * i / max(len(channels) - 1, 1)
            parts += [FractalBlock(width, wide, columns, share), nn.MaxPool2d(2)]
            width = wide
        self.features = nn.Sequential(*parts)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.linear = nn.Linear(width, num_classes)
        he_initialize(self)

    def keep_column(self, column: int | None) -> None:
        """Run one column of every block, as global drop-path does for a batch (section 3).

        Args:
            column: From 1, the shortest, as when a column is taken out after training; None for
                the whole network.

        Raises:
            ValueError: When there is no such column.
        """
        for module in self.modules():
            if isinstance(module, FractalBlock):
                if column is not None and not 1 <= column <= module.count:
                    raise ValueError(f"column {column}; there are columns 1 to {module.count}")
                module.only = column

    def forward(self, x: Tensor) -> Tensor:
        """Map images (N, in_channels, 32, 32) to logits (N, num_classes)."""
        out: Tensor = self.linear(self.avgpool(self.features(x)).flatten(1))
        return out


FAMILY: tuple[Architecture, ...] = (
    Architecture(
        name="fractalnet20",
        library="ensembles",
        build=partial(CifarFractalNet),
        input_size=(3, 32, 32),
        num_classes=10,
        paper="Larsson et al. 2016, arXiv 1605.07648",
        published_error=5.22,
    ),
)
