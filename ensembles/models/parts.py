"""Parts that the families share: how an architecture is described, residual blocks, shortcuts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = [
    "Architecture",
    "PublicWeights",
    "ResidualBlock",
    "SideBySide",
    "ZeroPadShortcut",
    "conv_unit",
    "he_initialize",
    "pooled_classifier",
    "require_depth",
    "residual_blocks",
    "stages",
]


class PublicWeights(NamedTuple):
    """Trained weights that a library offers.

    Attributes:
        name: As the library calls them.
        error: Top-1 error on ImageNet in % as the library states it, or None where it states none.
    """

    name: str
    error: float | None


@dataclass(frozen=True)
class Architecture:
    """A network that can be built by name.

    Attributes:
        name: What the user types.
        library: Where it comes from: ``"ensembles"``, ``"torchvision"`` or ``"timm"``.
        build: Makes the untrained network; takes ``num_classes`` and further arguments by keyword.
        input_size: Channels, height and width of the images that it is meant for; of a language
            model the longest window, in tokens.
        num_classes: The default number of classes.
        paper: The publication that describes it.
        published_error: Error in % in that publication, or ``None`` when it gives none, or only
            some that could not be checked.
        published_on: What that error was measured on.
        family: Networks of one family differ in size or in one part.
        public_weights: What torchvision or timm offer for it.
        task: What it is for, as ``ensembles.list_tasks`` names it.
    """

    name: str
    library: str
    build: Callable[..., nn.Module]
    input_size: tuple[int, ...]
    num_classes: int
    paper: str
    published_error: float | None = None
    published_on: str = "CIFAR-10"
    family: str = ""
    public_weights: tuple[PublicWeights, ...] = ()
    task: str = "classification"


class ZeroPadShortcut(nn.Module):
    """The parameter-free shortcut (option A) of He et al. 2015, section 3.3.

    Every ``stride``-th pixel is kept, and the new channels are zero, half of them before and half
    after the old ones.

    Args:
        in_channels: Channels that come in.
        out_channels: Channels that go out, at least ``in_channels``.
        stride: Step of the subsampling, in pixels.

    Raises:
        ValueError: When fewer channels go out than come in.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        if out_channels < in_channels:
            raise ValueError(
                f"{in_channels} channels and then {out_channels}; a shortcut without parameters "
                "takes no channels away"
            )
        added = out_channels - in_channels
        self.stride = stride
        self.padding = (0, 0, 0, 0, added // 2, added - added // 2)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, in_channels, H, W) to (N, out_channels, H / stride, W / stride)."""
        return F.pad(x[:, :, :: self.stride, :: self.stride], self.padding)

    def extra_repr(self) -> str:
        """Stride and added channels, as ``print(model)`` shows them."""
        return f"stride={self.stride}, added_channels={sum(self.padding)}"


class ResidualBlock(nn.Module):
    """A block ``post(shortcut(h) + branch(h))`` with ``h = pre(x)``.

    Subclasses set ``shortcut`` and define ``branch``; ``pre`` and ``post`` are the identity unless
    overridden. While ``branch_active`` is false the block runs its shortcut alone, and the branch
    costs nothing: training with dropped blocks switches it for each batch. It may be a tensor, a
    bool: both are then computed and one is chosen, so that all steps are the same launches.
    """

    shortcut: nn.Module

    def __init__(self) -> None:
        super().__init__()
        self.branch_active: bool | Tensor = True

    @property
    def branch_end(self) -> nn.Module:
        """The last layer of the branch: scaling its weight and bias scales the branch."""
        raise AttributeError(f"{type(self).__name__} names no last layer of its branch")

    def pre(self, x: Tensor) -> Tensor:
        """What branch and shortcut see; by default the input itself."""
        return x

    def branch(self, x: Tensor) -> Tensor:
        """The residual function."""
        raise AttributeError(f"{type(self).__name__} has no branch")

    def post(self, x: Tensor) -> Tensor:
        """What follows the addition; by default nothing."""
        return x

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, H, W) to (N, C', H', W')."""
        x = self.pre(x)
        return self.post(self.joined(self.shortcut(x), lambda: self.branch(x)))

    def joined(self, out: Tensor, branch: Callable[[], Tensor]) -> Tensor:
        """What the shortcut gives, and the branch where it is active."""
        active = self.branch_active
        if isinstance(active, Tensor):
            return torch.where(active, out + branch(), out)
        return out + branch() if active else out


class SideBySide(nn.Sequential):
    """Branches that all read the input and are concatenated along the channels."""

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, H, W) to (N, sum of the branches' channels, H', W')."""
        return torch.cat([branch(x) for branch in self], 1)


def conv_unit(
    in_channels: int,
    channels: int,
    kernel: int | tuple[int, int],
    *,
    stride: int = 1,
    padding: int | tuple[int, int] = 0,
    bias: bool = False,
) -> nn.Sequential:
    """A convolution with BatchNorm and ReLU."""
    return nn.Sequential(
        nn.Conv2d(in_channels, channels, kernel, stride, padding, bias=bias),
        nn.BatchNorm2d(channels),
        nn.ReLU(),
    )


def stages(
    block: Callable[[int, int, int], nn.Module], in_channels: int, channels: Sequence[Sequence[int]]
) -> dict[str, nn.Module]:
    """Stages of blocks, named ``layer1``, ``layer2`` and so on.

    Args:
        block: Makes a block from its channels in and out and its stride, which is 2 in the first
            block of every stage but the first.
        in_channels: Channels that come in.
        channels: Channels that go out of each block of each stage.
    """
    made: dict[str, nn.Module] = {}
    for number, widths in enumerate(channels, 1):
        blocks = []
        for place, wide in enumerate(widths):
            blocks.append(block(in_channels, wide, 2 if number > 1 and place == 0 else 1))
            in_channels = wide
        made[f"layer{number}"] = nn.Sequential(*blocks)
    return made


def pooled_classifier(channels: int, num_classes: int) -> dict[str, nn.Module]:
    """The mean over all positions, and a linear layer."""
    return {
        "avgpool": nn.AdaptiveAvgPool2d(1),
        "flatten": nn.Flatten(),
        "linear": nn.Linear(channels, num_classes),
    }


def residual_blocks(model: nn.Module) -> list[ResidualBlock]:
    """List the residual blocks of one of this package's networks, from input to output."""
    return [module for module in model.modules() if isinstance(module, ResidualBlock)]


def require_depth(depth: int, remainder: int, per_block: int) -> int:
    """Number of blocks in each of the three stages of a CIFAR network with ``depth`` layers.

    Raises:
        ValueError: When ``depth - remainder`` is no multiple of ``3 * per_block``.
    """
    blocks, left = divmod(depth - remainder, 3 * per_block)
    if left or blocks < 1:
        raise ValueError(
            f"depth {depth} is not {3 * per_block}n+{remainder}; take for example "
            f"{3 * per_block * 3 + remainder}"
        )
    return blocks


@torch.no_grad()
def he_initialize(model: nn.Module) -> None:
    """Initialise convolutions as He et al. 2015 (fan out), BatchNorm to 1 and 0, biases to 0.

    A network without memory stays as it is: PyTorch would load its compiler to draw nothing.
    """
    if next(model.parameters()).is_meta:
        return
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        elif isinstance(module, nn.BatchNorm2d):
            nn.init.ones_(module.weight)
        if isinstance(module, (nn.Conv2d, nn.BatchNorm2d, nn.Linear)) and module.bias is not None:
            nn.init.zeros_(module.bias)
