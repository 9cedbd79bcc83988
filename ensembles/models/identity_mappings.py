"""The blocks that He et al. 2016 (arXiv 1603.05027) compare: tables 1 and 2, figures 2 and 4.

Table 1 changes the shortcut and leaves ReLU after the addition; table 2 moves BatchNorm and ReLU
and leaves the shortcut alone. Networks are named after depth and block, as
``resnet110-conv-shortcut``. Depths are those of basic blocks (6n + 2), and 164 with bottlenecks.

The paper does not say what the modified shortcuts do where the shape changes. Here they act on what
carries the input there otherwise: option A with basic blocks, a projection with bottlenecks.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor, nn

from . import preresnet
from .parts import (
    Architecture,
    ResidualBlock,
    ZeroPadShortcut,
    he_initialize,
    pooled_classifier,
    require_depth,
    stages,
)

__all__ = ["FAMILY", "VARIANTS", "CifarResNetVariant"]


class OriginalBlock(ResidualBlock):
    """``relu(x + F(x))``: ReLU after the addition (figures 2a and 4a).

    Args:
        in_channels: Channels that come in.
        channels: Channels that go out.
        stride: Stride of the first (bottlenecks: the second) convolution.
        bottleneck: Whether the convolutions are 1x1, 3x3 and 1x1 instead of two of 3x3.
    """

    def __init__(self, in_channels: int, channels: int, stride: int, bottleneck: bool) -> None:
        super().__init__()
        self.shortcut = _carrying(in_channels, channels, stride, bottleneck)
        convolutions = _convolutions(in_channels, channels, stride, bottleneck)
        self.convolutions = nn.Sequential(*self.around(convolutions, channels))
        self.relu = nn.ReLU()

    def around(self, convolutions: list[nn.Module], channels: int) -> list[nn.Module]:
        """The branch F: its convolutions with what comes before and after them."""
        return [*convolutions, nn.BatchNorm2d(channels)]

    @property
    def branch_end(self) -> nn.Module:
        """The last layer of the branch that has parameters."""
        return [part for part in self.convolutions if any(True for _ in part.parameters())][-1]

    def branch(self, x: Tensor) -> Tensor:
        """F."""
        out: Tensor = self.convolutions(x)
        return out

    def post(self, x: Tensor) -> Tensor:
        """ReLU after the addition."""
        out: Tensor = self.relu(x)
        return out


class ConstantScaling(OriginalBlock):
    """``relu(x / 2 + F(x) / 2)`` (figure 2b)."""

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, H, W) to (N, C', H', W')."""
        return self.post(self.joined(0.5 * self.shortcut(x), lambda: 0.5 * self.branch(x)))


class GatedBlock(OriginalBlock):
    """What the two kinds of gating share: ``g(x) = sigmoid(conv(x))`` with a 1x1 convolution.

    Args:
        in_channels: Channels that come in.
        channels: Channels that go out.
        stride: Stride of the block, and of the gate's convolution.
        bottleneck: As for :class:`OriginalBlock`.
        gate_bias: What the biases of the gate begin with.
    """

    def __init__(
        self,
        in_channels: int,
        channels: int,
        stride: int,
        bottleneck: bool,
        gate_bias: float = -6.0,
    ) -> None:
        super().__init__(in_channels, channels, stride, bottleneck)
        self.gate = nn.Conv2d(in_channels, channels, 1, stride)
        self.gate_bias = gate_bias


class ExclusiveGating(GatedBlock):
    """``relu((1 - g(x)) x + g(x) F(x))`` (figure 2c)."""

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, H, W) to (N, C', H', W')."""
        g = torch.sigmoid(self.gate(x))
        return self.post(self.joined((1 - g) * self.shortcut(x), lambda: g * self.branch(x)))


class ShortcutGating(GatedBlock):
    """``relu((1 - g(x)) x + F(x))`` (figure 2d)."""

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, H, W) to (N, C', H', W')."""
        g = torch.sigmoid(self.gate(x))
        return self.post(self.joined((1 - g) * self.shortcut(x), lambda: self.branch(x)))


class ConvShortcut(OriginalBlock):
    """``relu(conv(x) + F(x))`` with a 1x1 convolution and BatchNorm, option C (figure 2e)."""

    def __init__(self, in_channels: int, channels: int, stride: int, bottleneck: bool) -> None:
        super().__init__(in_channels, channels, stride, bottleneck)
        self.shortcut = _projection(in_channels, channels, stride)


class DropoutShortcut(OriginalBlock):
    """``relu(dropout(x) + F(x))``: half of the shortcut is dropped while training (figure 2f)."""

    def __init__(self, in_channels: int, channels: int, stride: int, bottleneck: bool) -> None:
        super().__init__(in_channels, channels, stride, bottleneck)
        self.shortcut = nn.Sequential(self.shortcut, nn.Dropout(0.5))


class NormAfterAdd(OriginalBlock):
    """``relu(bn(x + F(x)))``: BatchNorm after the addition (figure 4b)."""

    def __init__(self, in_channels: int, channels: int, stride: int, bottleneck: bool) -> None:
        super().__init__(in_channels, channels, stride, bottleneck)
        self.bn = nn.BatchNorm2d(channels)

    def around(self, convolutions: list[nn.Module], channels: int) -> list[nn.Module]:
        """F ends in a convolution."""
        return convolutions

    def post(self, x: Tensor) -> Tensor:
        """BatchNorm and ReLU after the addition."""
        out: Tensor = self.relu(self.bn(x))
        return out


class ReluBeforeAdd(OriginalBlock):
    """``x + relu(F(x))``: no branch is ever negative (figure 4c)."""

    def around(self, convolutions: list[nn.Module], channels: int) -> list[nn.Module]:
        """F ends in BatchNorm and ReLU."""
        return [*convolutions, nn.BatchNorm2d(channels), nn.ReLU()]

    def post(self, x: Tensor) -> Tensor:
        """Nothing."""
        return x


class ReluOnlyPreact(OriginalBlock):
    """``x + F(relu(x))``: BatchNorm stays behind each convolution (figure 4d)."""

    def around(self, convolutions: list[nn.Module], channels: int) -> list[nn.Module]:
        """F begins with ReLU."""
        return [nn.ReLU(), *convolutions, nn.BatchNorm2d(channels)]

    def post(self, x: Tensor) -> Tensor:
        """Nothing."""
        return x


def _convolutions(
    in_channels: int, channels: int, stride: int, bottleneck: bool
) -> list[nn.Module]:
    """The convolutions of a branch, with BatchNorm and ReLU between them."""
    if not bottleneck:
        return [
            nn.Conv2d(in_channels, channels, 3, stride, 1, bias=False),
            nn.BatchNorm2d(channels),
            nn.ReLU(),
            nn.Conv2d(channels, channels, 3, 1, 1, bias=False),
        ]
    inner = channels // 4
    return [
        *(nn.Conv2d(in_channels, inner, 1, bias=False), nn.BatchNorm2d(inner), nn.ReLU()),
        *(nn.Conv2d(inner, inner, 3, stride, 1, bias=False), nn.BatchNorm2d(inner), nn.ReLU()),
        nn.Conv2d(inner, channels, 1, bias=False),
    ]


def _carrying(in_channels: int, channels: int, stride: int, bottleneck: bool) -> nn.Module:
    """The unmodified shortcut."""
    if stride == 1 and in_channels == channels:
        return nn.Identity()
    if bottleneck:
        return _projection(in_channels, channels, stride)
    return ZeroPadShortcut(in_channels, channels, stride)


def _projection(in_channels: int, channels: int, stride: int) -> nn.Sequential:
    conv = nn.Conv2d(in_channels, channels, 1, stride, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(channels))


VARIANTS: dict[str, Callable[[int, int, int, bool], OriginalBlock]] = {
    "original": OriginalBlock,
    "constant-scaling": ConstantScaling,
    "exclusive-gating": ExclusiveGating,
    "shortcut-gating": ShortcutGating,
    "shortcut-gating-0": partial(ShortcutGating, gate_bias=0.0),
    "conv-shortcut": ConvShortcut,
    "dropout-shortcut": DropoutShortcut,
    "bn-after-add": NormAfterAdd,
    "relu-before-add": ReluBeforeAdd,
    "relu-only-preact": ReluOnlyPreact,
}
"""The blocks by name; ``shortcut-gating-0`` begins with gates half open (bias 0, not -6)."""


class CifarResNetVariant(nn.Sequential):
    """A convolution with BatchNorm and ReLU, three stages of n blocks, and a linear classifier.

    Args:
        depth: Number of weight layers on the path through all branches: 6n + 2, with
            bottlenecks 9n + 2.
        variant: One of ``VARIANTS``.
        bottleneck: Whether the blocks are bottlenecks.
        width: Channels of the first convolution; the second and third stage double them.
        num_classes: Width of the classifier.
        in_channels: Channels of the images.

    Raises:
        ValueError: When ``depth`` does not fit the kind of block.
        KeyError: When there is no such variant.
    """

    def __init__(
        self,
        depth: int,
        variant: str,
        bottleneck: bool = False,
        width: int = 16,
        *,
        num_classes: int = 10,
        in_channels: int = 3,
    ) -> None:
        blocks = require_depth(depth, 2, 3 if bottleneck else 2)
        channels = [[(4 if bottleneck else 1) * width * 2**stage] * blocks for stage in range(3)]
        last = channels[-1][-1]

        def block(incoming: int, outgoing: int, stride: int) -> OriginalBlock:
            return VARIANTS[variant](incoming, outgoing, stride, bottleneck)

        # Blocks that begin with ReLU leave the last sum without one (the paper's appendix).
        end: dict[str, nn.Module] = {"relu2": nn.ReLU()} if variant == "relu-only-preact" else {}
        super().__init__(
            OrderedDict(
                conv1=nn.Conv2d(in_channels, width, 3, 1, 1, bias=False),
                bn1=nn.BatchNorm2d(width),
                relu=nn.ReLU(),
                **stages(block, width, channels),
                **end,
                **pooled_classifier(last, num_classes),
            )
        )
        he_initialize(self)
        for module in self.modules():
            if isinstance(module, GatedBlock) and module.gate.bias is not None:
                nn.init.constant_(module.gate.bias, module.gate_bias)


DEPTHS = (20, 32, 44, 56, 110, 164)
_PAPER = "He et al. 2016, arXiv 1603.05027"
# Tables 1 and 2; there is no error where training failed.
_PUBLISHED = {
    (164, "original"): 5.93,
    (110, "constant-scaling"): 12.35,
    (110, "exclusive-gating"): 8.70,
    (110, "shortcut-gating"): 6.91,
    (110, "shortcut-gating-0"): 12.86,
    (110, "conv-shortcut"): 12.22,
    (110, "bn-after-add"): 8.17,
    (164, "bn-after-add"): 6.50,
    (110, "relu-before-add"): 7.84,
    (164, "relu-before-add"): 6.14,
    (110, "relu-only-preact"): 6.71,
    (164, "relu-only-preact"): 5.91,
}


def _architecture(depth: int, variant: str) -> Architecture:
    suffix = "" if variant == "original" else f"-{variant}"
    return Architecture(
        name=f"resnet{depth}{suffix}",
        library="ensembles",
        build=partial(CifarResNetVariant, depth=depth, variant=variant, bottleneck=depth == 164),
        input_size=(3, 32, 32),
        num_classes=10,
        paper=_PAPER,
        published_error=_PUBLISHED.get((depth, variant)),
        family="resnet" if variant == "original" else "identity-mappings",
    )


_PREACTIVATED = {entry.name: entry for entry in preresnet.FAMILY}

FAMILY: tuple[Architecture, ...] = (
    _architecture(164, "original"),
    *(_architecture(d, variant) for variant in VARIANTS if variant != "original" for d in DEPTHS),
    *(
        replace(
            _PREACTIVATED[f"preresnet{depth}"],
            name=f"resnet{depth}-full-preact",
            family="identity-mappings",
        )
        for depth in DEPTHS
    ),
)
