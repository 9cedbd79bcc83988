"""Widths at which networks of different depth have the same number of parameters."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise, product

import torch

from ensembles.errors import UsageError, nearest

from .registry import create_model
from .sized import SIZED, SizedFamily

__all__ = ["Matched", "count_parameters", "family_of", "match"]

_AROUND = 2
_MOST = 10**9


@dataclass(frozen=True)
class Matched:
    """A network of a family whose widths meet a number of parameters.

    Attributes:
        family: Key of its family.
        depth: Weight layers on the longest path.
        widths: Channels of each stage.
        name: Name of the architecture.
        parameters: How many it has.
    """

    family: str
    depth: int
    widths: tuple[int, ...]
    name: str
    parameters: int

    @property
    def residual(self) -> bool:
        """Whether it has shortcuts."""
        return SIZED[self.family].shortcuts


def count_parameters(name: str, *, num_classes: int = 10, in_channels: int = 3) -> int:
    """Number of parameters of a network, found without making their values."""
    with torch.device("meta"):
        model = create_model(name, num_classes, in_channels=in_channels)
    return sum(parameter.numel() for parameter in model.parameters())


def match(
    family: str,
    depth: int,
    parameters: int,
    *,
    num_classes: int = 10,
    in_channels: int = 3,
    tolerance: float = 0.02,
) -> Matched:
    """Find the widths at which a network of a depth has a number of parameters.

    Of all widths whose count comes within the tolerance, those are taken whose proportions are
    nearest to the family's; of these, those whose count is nearest.

    Args:
        family: A key of `SIZED`.
        depth: Weight layers on the longest path.
        parameters: The number to meet.
        num_classes: Width of the classifier.
        in_channels: Channels of the images.
        tolerance: How far the count may lie from it, as a share.

    Returns:
        The network, with its exact count.

    Raises:
        UsageError: An unknown family, a depth that it does not have, or a number of parameters
            that no widths meet.
    """
    known = family_of(family)
    if not known.takes(depth):
        near = known.least + max(0, round((depth - known.least) / known.step)) * known.step
        raise UsageError(
            f"depth {depth}: {known.key} networks have {known.least}, {known.least + known.step}, "
            f"{known.least + 2 * known.step}, ... layers on the longest path; take {near}"
        )
    if not 0 < parameters <= _MOST:
        raise UsageError(f"{parameters} parameters; expected 1 to {_MOST:,}")
    count = _Count(known, depth, num_classes, in_channels)
    ideal = [known_part * _scale(count, parameters) for known_part in known.stages(depth)]
    best: tuple[bool, float, float, tuple[int, ...]] | None = None
    for widths in product(*map(_around, ideal)):
        if _falls(widths, known.stages(depth)):
            continue
        off = abs(count(widths) / parameters - 1)
        outside = off > tolerance
        shape = math.fsum(math.log(a / b) ** 2 for a, b in zip(widths, ideal, strict=True))
        found = (outside, off if outside else shape, off, widths)
        best = found if best is None else min(best, found)
    assert best is not None
    outside, _, _, widths = best
    name = known.name(depth, widths)
    exact = count_parameters(name, num_classes=num_classes, in_channels=in_channels)
    if outside:
        raise UsageError(
            f"no {known.key} network of {depth} layers has {parameters:,} parameters to within "
            f"{100 * tolerance:g} %; the nearest, {name}, has {exact:,}: ask for another number"
        )
    return Matched(family, depth, widths, name, exact)


def family_of(key: str) -> SizedFamily:
    """The family of a key.

    Raises:
        UsageError: There is none.
    """
    if key not in SIZED:
        raise UsageError(
            f"family {key!r} is unknown: expected {', '.join(SIZED)}{nearest(key, SIZED)}"
        )
    return SIZED[key]


class _Count:
    """Number of parameters by widths: a polynomial of the second degree, from a few networks.

    Each weight belongs to one width or to the product of two, so the values at a point and at its
    neighbours say it everywhere, exactly (Newton's forward differences).
    """

    def __init__(self, family: SizedFamily, depth: int, num_classes: int, in_channels: int) -> None:
        self.base = [2 * part for part in family.stages(depth)]
        stages = range(len(self.base))

        def built(*raised: int) -> int:
            widths = [wide + raised.count(stage) for stage, wide in enumerate(self.base)]
            return count_parameters(
                family.name(depth, widths), num_classes=num_classes, in_channels=in_channels
            )

        self.start = built()
        once = [built(stage) for stage in stages]
        self.first = [value - self.start for value in once]
        self.second = {
            (i, j): built(i, j) - once[i] - once[j] + self.start for i in stages for j in stages[i:]
        }

    def __call__(self, widths: Sequence[float]) -> float:
        """The count, exact for whole widths."""
        steps = [wide - base for wide, base in zip(widths, self.base, strict=True)]
        total = self.start + sum(a * b for a, b in zip(self.first, steps, strict=True))
        for (i, j), value in self.second.items():
            pairs = steps[i] * (steps[i] - 1) / 2 if i == j else steps[i] * steps[j]
            total += value * pairs
        return total


def _scale(count: _Count, parameters: int) -> float:
    """The width of a stage of proportion 1 at which the count is met, if it were a real number."""
    low, high = 0.0, 1.0
    shape = [wide / 2 for wide in count.base]
    while count([high * part for part in shape]) < parameters:
        high *= 2
    for _ in range(60):
        middle = (low + high) / 2
        if count([middle * part for part in shape]) < parameters:
            low = middle
        else:
            high = middle
    return high


def _around(ideal: float) -> range:
    """Whole widths near one that is none."""
    return range(max(1, math.floor(ideal) - _AROUND + 1), math.floor(ideal) + _AROUND + 1)


def _falls(widths: Sequence[int], proportions: Sequence[int]) -> bool:
    """Whether a stage is narrower than the one before, where it should not be."""
    pairs = list(zip(widths, proportions, strict=True))
    return any(a > b and p < q for (a, p), (b, q) in pairwise(pairs))
