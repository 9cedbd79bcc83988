"""Which blocks and images the drawn paths should prefer, so that few draws give their mean norm.

The norm of a single path's gradient is close to a product of one factor for each branch that it
takes, times a level of its image. A regression on some drawn paths finds these; drawing paths in
proportion to their product and weighting each by its probability leaves the mean unbiased, and
takes the heavy tail out of it (importance sampling). Images that carry more get more of the draws
(stratified sampling with Neyman's allocation).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["Guide", "allocate", "fit_guide"]

_RIDGE = 1e-2
_EVEN = 5
_LEAST = 0.05


@dataclass(frozen=True)
class Guide:
    """What a path is expected to carry.

    Attributes:
        factors: Of each block's branch, (n,), float64; 1 where the draws do not tell.
        levels: Of each image, a natural logarithm, (N,), float64.
        slopes: How the level changes with each branch more, (N,).
    """

    factors: Tensor
    levels: Tensor
    slopes: Tensor

    def shares(self) -> Tensor:
        """The part of each length's gradient that each image is expected to hold, (n + 1, N)."""
        lengths = torch.arange(len(self.factors) + 1, dtype=torch.float64)
        middle = len(self.factors) / 2
        return torch.softmax(self.levels + (lengths - middle)[:, None] * self.slopes, 1)


def fit_guide(
    taken: Tensor, owners: Tensor, norms: Tensor, images: int, shares: Tensor | None = None
) -> Guide:
    """Fit ``log norm = length + image + image's slope x length + the taken blocks' terms``.

    Args:
        taken: Choices (rows, n), bool.
        owners: The image of each path, (rows,).
        norms: Base-2 logarithms of the norms, (rows,).
        images: Number of images, N.
        shares: What each image is known to hold, (n + 1, N): its paths count by it, since the
            factors should suit the images that carry much.
    """
    n = taken.shape[1]
    values = (norms * math.log(2)).to(torch.float64)
    finite = torch.isfinite(values)
    lengths = taken.sum(1)
    one = torch.nn.functional.one_hot
    owned = one(owners, images).to(torch.float64)
    columns = [
        taken.to(torch.float64),
        one(lengths, n + 1).to(torch.float64),
        owned,
        owned * (lengths - n / 2)[:, None] / max(n, 1),
    ]
    design = torch.cat(columns, 1)[finite]
    if len(design) == 0:
        none = torch.zeros(images, dtype=torch.float64)
        return Guide(torch.ones(n, dtype=torch.float64), none, none)
    ridge = _RIDGE * torch.eye(design.shape[1], dtype=torch.float64)
    counted = design
    if shares is not None:
        counted = design * (shares * images)[lengths, owners][finite].clamp(min=_LEAST)[:, None]
    solution = torch.linalg.solve(counted.T @ design + ridge, counted.T @ values[finite])
    terms, _, levels, slopes = torch.split(solution, [n, n + 1, images, images])
    # A block's factor is bounded, so that no path is drawn far too seldom.
    return Guide(torch.exp((terms - terms.mean()).clamp(-3, 3)), levels, slopes / max(n, 1))


def allocate(shares: Tensor, total: int) -> Tensor:
    """Divide the draws of each length among the images.

    Every image has at least a fifth of an equal part, and two draws where that is possible, so
    that a wrong guess costs little and each image's spread is known.

    Args:
        shares: (lengths, N), each row adding up to 1.
        total: Draws of each length, at least N.

    Returns:
        Draws (lengths, N), int64, each row adding up to `total`.

    >>> allocate(torch.tensor([[0.8, 0.2], [0.5, 0.5]]), 10)
    tensor([[7, 3],
            [5, 5]])
    """
    images = shares.shape[1]
    each = total // images
    least = max(min(2, each), each // _EVEN)
    free = total - least * images
    wanted = shares * free
    draws = wanted.floor()
    left = free - draws.sum(1)
    order = (draws - wanted).argsort(dim=1, stable=True).argsort(dim=1)
    return (draws + (order < left[:, None])).long() + least
