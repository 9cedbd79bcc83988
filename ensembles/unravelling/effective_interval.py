"""Effective paths: the few lengths that hold nearly all of a measure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

__all__ = ["Effective", "by_weight_layers", "effective"]


@dataclass(frozen=True)
class Effective:
    """The shortest interval of lengths that holds a share of a measure.

    Attributes:
        first: Its first length.
        last: Its last length.
        median: The length at which half of the measure is reached.
        share: The part of all paths whose length lies in the interval, 0 to 1.
        held: The part of the measure that the interval holds.
    """

    first: int
    last: int
    median: int
    share: float
    held: float


def effective(
    measure: Mapping[int, float], paths: Mapping[int, int], share: float = 0.95
) -> Effective | None:
    """Find the shortest interval of lengths that holds a share of a measure.

    Args:
        measure: How much each length has; nothing below zero.
        paths: How many paths each length has.
        share: The share to hold, 0 to 1.

    Returns:
        The interval, the earliest where several are equally short and hold equally much; None
        where the measure is zero or not finite.

    >>> effective({0: 1, 1: 8, 2: 1}, {0: 1, 1: 2, 2: 1}, 0.8)
    Effective(first=1, last=1, median=1, share=0.5, held=0.8)
    """
    lengths = sorted(measure)
    values = [measure[length] for length in lengths]
    whole = math.fsum(values)
    if not 0 < whole < math.inf:
        return None
    reached = _cumulative(values)
    enough = share * whole * (1 - 1e-12)
    best: tuple[int, float, int, int] | None = None
    stop = 0
    for start in range(len(values)):
        while stop < len(values) and reached[stop] - reached[start] < enough:
            stop += 1
        held = reached[stop] - reached[start]
        if held < enough:
            break
        candidate = (stop - start, -held, start, stop)
        best = candidate if best is None else min(best, candidate)
    assert best is not None
    _, held, start, stop = best
    middle = next(i for i in range(len(values)) if reached[i + 1] >= whole / 2)
    inside = sum(paths[length] for length in lengths[start:stop])
    part = inside / sum(paths[length] for length in lengths)
    return Effective(lengths[start], lengths[stop - 1], lengths[middle], part, -held / whole)


def _cumulative(values: Sequence[float]) -> list[float]:
    found = [0.0]
    for value in values:
        found.append(found[-1] + value)
    return found


def by_weight_layers(
    measure: Mapping[int, float], joint: Mapping[tuple[int, int], int]
) -> dict[int, float]:
    """Lay a measure over weight layers instead of blocks.

    Each length's amount is shared among its paths equally: exact where every branch has as many
    weight layers, and no path information beyond the length is used elsewhere.

    Args:
        measure: By number of branches.
        joint: Number of paths by (branches, weight layers).
    """
    totals: dict[int, int] = {}
    for (length, _), number in joint.items():
        totals[length] = totals.get(length, 0) + number
    found: dict[int, float] = {}
    for (length, layers), number in joint.items():
        part = measure.get(length, 0.0) * (number / totals[length])
        found[layers] = found.get(layers, 0.0) + part
    return dict(sorted(found.items()))
