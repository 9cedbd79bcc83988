"""Shifts and mirror images, drawn and applied for a whole batch of 8-bit images at once."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ensembles.data import Normalization
from ensembles.training.recipes import Recipe

__all__ = ["draw_moves", "moved", "padding_colour", "shrink", "shrunk_side"]


def padding_colour(recipe: Recipe, normalization: Normalization, channels: int) -> Tensor:
    """The colour around a padded image, uint8 (channels,)."""
    if recipe.padding == "black":
        return torch.zeros(channels, dtype=torch.uint8)
    mean = torch.tensor(normalization.mean).expand(channels)
    return (mean * 255).round().clamp(0, 255).to(torch.uint8)


def draw_moves(count: int, padding: int, flip: bool, generator: torch.Generator) -> Tensor:
    """Draw how each image of a batch is shifted and mirrored.

    Args:
        count: Number of images.
        padding: Each shift up to it, in both directions, is equally likely.
        flip: Whether each image is mirrored left to right with probability one half.
        generator: Source of randomness, on the CPU.

    Returns:
        int64 (3, count): row and column of the padded image at which each begins, and 1 where it is
        mirrored.
    """
    shifts = torch.randint(2 * padding + 1, (2, count, 1), generator=generator)[..., 0]
    mirrored = torch.zeros(count, dtype=torch.int64)
    if flip:
        mirrored = (torch.rand(count, 1, generator=generator)[:, 0] < 0.5).long()
    return torch.cat([shifts, mirrored.unsqueeze(0)])


def moved(images: Tensor, moves: Tensor, padding: int, colour: Tensor) -> Tensor:
    """Pad each image, cut it out again at another place, and mirror it or not.

    Args:
        images: uint8, (N, C, H, W).
        moves: As :func:`draw_moves` gives them, on the device of the images.
        padding: Pixels added on each side.
        colour: Colour of the padding, uint8 (C,), on the device of the images.

    Returns:
        uint8 of the same shape, channels last in memory.
    """
    count, channels, height, width = images.shape
    device = images.device
    if padding:
        shape = (count, channels, height + 2 * padding, width + 2 * padding)
        padded = colour.view(1, -1, 1, 1).expand(shape).contiguous()
        padded[:, :, padding : padding + height, padding : padding + width] = images
    else:
        padded = images
    first_row, first_column, mirrored = moves.unsqueeze(2)
    rows = first_row + torch.arange(height, device=device)
    columns = torch.arange(width, device=device)
    columns = first_column + torch.where(mirrored > 0, width - 1 - columns, columns)
    image = torch.arange(count, device=device).view(-1, 1, 1)
    return padded[image, :, rows.unsqueeze(2), columns.unsqueeze(1)].permute(0, 3, 1, 2)


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
