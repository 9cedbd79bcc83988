"""Orders of blocks, and how much of the intact order is left in them."""

from __future__ import annotations

from bisect import bisect, insort
from collections.abc import Sequence

__all__ = ["kendall_tau"]


def kendall_tau(order: Sequence[int]) -> float:
    """Kendall rank correlation of an order of 1 to n with 1, 2, ..., n.

    Args:
        order: Each number once.

    Returns:
        1 where nothing changed places, -1 where all is reversed.

    >>> kendall_tau((2, 3, 1))
    -0.33333333333333326
    """
    n = len(order)
    return 1.0 if n < 2 else 1 - 4 * _inversions(order) / (n * (n - 1))


def _inversions(order: Sequence[int]) -> int:
    """How many pairs stand the wrong way round."""
    later: list[int] = []
    found = 0
    for block in reversed(order):
        found += bisect(later, block)
        insort(later, block)
    return found
