"""Which blocks a path should prefer, so that few draws give the mean norm of all paths.

The norm of a single path's gradient is close to a product of one factor for each branch that it
takes. A regression on some uniform draws finds these factors; drawing paths in proportion to their
product and weighting each by its probability leaves the mean unbiased, and takes the heavy tail
out of it (importance sampling).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

__all__ = ["branch_factors"]


def branch_factors(taken: Tensor, norms: Tensor) -> Tensor:
    """Fit ``log norm = length + image + the taken blocks' terms`` by least squares.

    Args:
        taken: Choices (lengths, draws, images, n), bool.
        norms: Base-2 logarithms of the norms, (lengths, draws, images).

    Returns:
        The factor of each block's branch, (n,), float64; 1 where the draws do not tell.
    """
    lengths, draws, images, n = taken.shape
    values = (norms * math.log(2)).flatten()
    finite = torch.isfinite(values)
    columns = [
        taken.to(torch.float64).flatten(0, 2),
        _indicator(lengths, draws * images, 1),
        _indicator(images, 1, lengths * draws),
    ]
    design = torch.cat(columns, 1)[finite]
    if len(design) == 0:
        return torch.ones(n, dtype=torch.float64)
    ridge = 1e-3 * torch.eye(design.shape[1], dtype=torch.float64)
    solution = torch.linalg.solve(
        design.T @ design + ridge, design.T @ values[finite].to(torch.float64)
    )
    terms = solution[:n]
    # A block's factor is bounded, so that no path is drawn far too seldom.
    return torch.exp((terms - terms.mean()).clamp(-3, 3))


def _indicator(count: int, inner: int, outer: int) -> Tensor:
    numbers = torch.arange(count).repeat_interleave(inner).repeat(outer)
    return torch.nn.functional.one_hot(numbers, count).to(torch.float64)
