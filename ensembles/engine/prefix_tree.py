"""All lesions of a sweep as one tree of shared prefixes, walked depth first.

Each lesion is a sequence of keys: the stem, then for each position what stands before the block and
what runs there, and the head. Sorted, these sequences list the leaves of the tree in depth-first
order; neighbours share the prefix that the tree shares.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

from ensembles.lesions.steps import Bypass, Key, Program

__all__ = ["Level", "Route", "flat_keys", "levels_of", "passage_key", "plan_routes"]

Level: TypeAlias = "tuple[int, int]"
"""A place in the walk: a position, and the how-manieth step there; 0 is what stands before it."""


@dataclass(frozen=True)
class Route:
    """One lesion on the walk through the tree.

    Attributes:
        lesion: Index of the lesion in the sweep.
        keys: What it runs, in order.
        shared: How many of these the walk has already run for the lesion before.
        keep: The depths whose activations a later lesion starts from.
    """

    lesion: int
    keys: tuple[Key, ...]
    shared: int
    keep: frozenset[int]


def passage_key(position: int) -> Key:
    """The key of what stands before the block at a position."""
    return ("before", position)


def flat_keys(program: Program, passages: frozenset[int], idle: frozenset[int]) -> tuple[Key, ...]:
    """Write a program as a sequence of keys; stem and head go without saying.

    Args:
        program: What runs at each position.
        passages: Positions that have something fixed before their block.
        idle: Blocks that do nothing at all once their branch is deleted.
    """
    return tuple(key for _, key in levels_of(program, passages, idle))


def levels_of(
    program: Program, passages: frozenset[int], idle: frozenset[int]
) -> tuple[tuple[Level, Key], ...]:
    """Write a program as :func:`flat_keys` does, each key with its level.

    Args:
        program: What runs at each position.
        passages: Positions that have something fixed before their block.
        idle: Blocks that do nothing at all once their branch is deleted.
    """
    found: list[tuple[Level, Key]] = []
    for position, steps in enumerate(program, 1):
        if position in passages:
            found.append(((position, 0), passage_key(position)))
        busy = [one for one in steps if not (isinstance(one, Bypass) and one.block in idle)]
        found.extend(((position, place), step.key) for place, step in enumerate(busy, 1))
    return tuple(found)


def plan_routes(sequences: Sequence[tuple[Key, ...]]) -> list[Route]:
    """Order the lesions of a sweep so that each shared prefix is run once.

    Args:
        sequences: The keys of each lesion.

    Returns:
        A route for each lesion, in the order of the walk. Running `keys[shared:]` of each, with
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


def _common(a: Sequence[Key], b: Sequence[Key]) -> int:
    length = 0
    for x, y in zip(a, b, strict=False):
        if x != y:
            break
        length += 1
    return length
