"""Shifts and mirror images, drawn and applied for a whole batch of 8-bit images at once."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ensembles.data import Normalization
from ensembles.training.recipes import Recipe

__all__ = ["padding_colour", "shift_and_flip", "shrink", "shrunk_side"]


def padding_colour(recipe: Recipe, normalization: Normalization, channels: int) -> Tensor:
    """The colour around a padded image, uint8 (channels,)."""
    if recipe.padding == "black":
        return torch.zeros(channels, dtype=torch.uint8)
    mean = torch.tensor(normalization.mean).expand(channels)
    return (mean * 255).round().clamp(0, 255).to(torch.uint8)


def shift_and_flip(
    images: Tensor,
    padding: int,
    flip: bool,
    colour: Tensor,
    generator: torch.Generator,
) -> Tensor:
    """Pad each image, cut it out again at a random place, and mirror half of them.

    Args:
        images: uint8, (N, C, H, W).
        padding: Pixels added on each side; each shift up to it is equally likely.
        flip: Whether each image is mirrored left to right with probability one half.
        colour: Colour of the padding, uint8 (C,).
        generator: Source of randomness, on the CPU.

    Returns:
        uint8 of the same shape, channels last in memory.
    """
    count, channels, height, width = images.shape
    if padding:
        shape = (count, channels, height + 2 * padding, width + 2 * padding)
        padded = colour.to(images.device).view(1, -1, 1, 1).expand(shape).contiguous()
        padded[:, :, padding : padding + height, padding : padding + width] = images
    else:
        padded = images
    shifts = torch.randint(2 * padding + 1, (2, count, 1), generator=generator)
    rows = shifts[0] + torch.arange(height)
    columns = torch.arange(width).expand(count, width)
    if flip:
        mirrored = torch.rand(count, 1, generator=generator) < 0.5
        columns = torch.where(mirrored, width - 1 - columns, columns)
    columns = shifts[1] + columns
    index = (torch.arange(count).view(-1, 1, 1), rows.unsqueeze(2), columns.unsqueeze(1))
    image, row, column = (part.to(images.device) for part in index)
    return padded[image, :, row, column].permute(0, 3, 1, 2)


def shrunk_side(side: int, factor: float) -> int:
    """The side of a shrunk image in pixels: a multiple of four, at least four.

    >>> [shrunk_side(32, factor) for factor in (0.5, 0.7, 1.0)]
    [16, 24, 32]
    """
    return side if factor == 1 else max(4, round(side * factor / 4) * 4)


def shrink(images: Tensor, factor: float) -> Tensor:
    """Make images smaller, with the pixels that are left out averaged in.

    Args:
        images: float, (N, C, H, W).
        factor: On each side; 1 leaves them as they are.
    """
    if factor == 1:
        return images
    height, width = (shrunk_side(side, factor) for side in images.shape[-2:])
    return F.interpolate(images, (height, width), mode="bilinear", antialias=True)
