"""All lesions of a sweep as one tree of shared prefixes, walked depth first.

Each lesion is a sequence of steps: the stem, then for each position what stands before the block,
the block whole, without its branch or without some of its roads, and the head. Sorted, these
sequences list the leaves of the tree in depth-first order; neighbours share the prefix that the
tree shares.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ensembles.lesions import Bypass, Lesion, Run, Without

__all__ = ["Route", "Step", "plan_routes", "steps_of"]

Step = tuple[str, int] | tuple[str, int, tuple[int, ...]]
"""("before", position), ("whole", block), ("bypass", block) or ("drop", block, roads).

Stem and head go without saying."""


@dataclass(frozen=True)
class Route:
    """One lesion on the walk through the tree.

    Attributes:
        lesion: Index of the lesion in the sweep.
        steps: Its steps.
        shared: How many of them the walk has already taken for the lesion before.
        keep: The depths whose activations a later lesion starts from.
    """

    lesion: int
    steps: tuple[Step, ...]
    shared: int
    keep: frozenset[int]


def steps_of(
    lesion: Lesion, n: int, befores: frozenset[int], idle: frozenset[int]
) -> tuple[Step, ...]:
    """Write a lesion as steps.

    Args:
        lesion: The lesion.
        n: Number of blocks.
        befores: Positions that have something fixed before their block.
        idle: Blocks that do nothing at all once their branch is deleted.
    """
    steps: list[Step] = []
    for position, run in enumerate(lesion.program(n), 1):
        if position in befores:
            steps.append(("before", position))
        for step in run:
            assert isinstance(step, Run | Bypass | Without)
            if not isinstance(step, Bypass) or step.block not in idle:
                steps.append(_step(step))
    return tuple(steps)


def _step(step: Run | Bypass | Without) -> Step:
    if isinstance(step, Without):
        return "drop", step.block, step.roads
    return ("whole" if isinstance(step, Run) else "bypass", step.block)


def plan_routes(sequences: Sequence[tuple[Step, ...]]) -> list[Route]:
    """Order the lesions of a sweep so that each shared prefix is run once.

    Args:
        sequences: The steps of each lesion.

    Returns:
        A route for each lesion, in the order of the walk. Running `steps[shared:]` of each, with
        the activations of the depths in `keep` held until the walk leaves them, runs every node of
        the tree exactly once.
    """
    order = sorted(range(len(sequences)), key=sequences.__getitem__)
    shared = [0] * len(order)
    for i in range(1, len(order)):
        shared[i] = _common(sequences[order[i - 1]], sequences[order[i]])
    keep: list[frozenset[int]] = [frozenset()] * len(order)
    needed: list[int] = []
    for i in reversed(range(len(order))):
        keep[i] = frozenset(needed)
        while needed and needed[-1] >= shared[i]:
            needed.pop()
        needed.append(shared[i])
    return [Route(lesion, sequences[lesion], shared[i], keep[i]) for i, lesion in enumerate(order)]


def _common(a: Sequence[Step], b: Sequence[Step]) -> int:
    length = 0
    for x, y in zip(a, b, strict=False):
        if x != y:
            break
        length += 1
    return length
