"""Sets of lesions: every block in turn, random sets of blocks, random swaps."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from ensembles.errors import LesionError
from ensembles.lesions.base import Lesion
from ensembles.lesions.draws import random_picks, random_roads, random_sets
from ensembles.lesions.members.delete import Delete
from ensembles.lesions.members.drop import Drop, every_road
from ensembles.lesions.members.duplicate import Duplicate
from ensembles.lesions.members.none import Intact
from ensembles.lesions.members.reorder import Reorder, exchanges

__all__ = [
    "intact", "random_deletions", "random_drops", "random_duplications", "random_swaps",
    "single_deletions", "single_drops",
]  # fmt: skip


def intact() -> Lesion:
    """The network as it is."""
    return Intact()


def single_deletions(n: int, skip: Collection[int] = ()) -> list[Lesion]:
    """Delete every block once.

    Args:
        n: Number of blocks of the network.
        skip: Blocks to leave alone.

    Returns:
        One deletion a block, in order.

    Raises:
        LesionError: If ``skip`` names a block that does not exist, or leaves none.
    """
    return [Delete((block,)) for block in _pool(n, skip)]


def random_deletions(
    n: int, counts: Iterable[int], trials: int, seed: int = 0, skip: Collection[int] = ()
) -> list[Lesion]:
    """Delete random sets of blocks, each set of a size as likely as any other.

    A draw depends on seed, count, trial and the blocks to draw from, not on which other draws are
    asked for, and is the same on every machine.

    Args:
        n: Number of blocks of the network.
        counts: How many blocks to delete at a time, each in turn.
        trials: Draws for each count.
        seed: Seed of the draws.
        skip: Blocks to leave alone.

    Returns:
        ``trials`` lesions a count.

    Raises:
        LesionError: If a count is below 1 or larger than the number of blocks, there are no trials,
            or ``skip`` names a block that does not exist.
    """
    drawn = random_sets("delete", n, _pool(n, skip), counts, trials, seed)
    return [Delete(blocks, draw=draw) for draw, blocks in drawn]


def random_duplications(
    n: int, counts: Iterable[int], trials: int, seed: int = 0, skip: Collection[int] = ()
) -> list[Lesion]:
    """Duplicate random sets of blocks; as :func:`random_deletions` otherwise."""
    drawn = random_sets("duplicate", n, _pool(n, skip), counts, trials, seed)
    return [Duplicate(blocks, draw=draw) for draw, blocks in drawn]


def random_swaps(
    groups: Iterable[Sequence[int]], counts: Iterable[int], trials: int, seed: int = 0
) -> list[Lesion]:
    """Reorder blocks by random swaps, every exchangeable pair as likely as any other.

    As in the published lesions, a block may be exchanged more than once.

    Args:
        groups: Blocks that may change places with each other, from `exchangeable`.
        counts: How many swaps to make, each in turn.
        trials: Draws for each count.
        seed: Seed of the draws.

    Returns:
        ``trials`` lesions a count.

    Raises:
        LesionError: If a count is below 1, there are no trials, or no two blocks can change places.
    """
    drawn = random_picks("reorder", exchanges(groups), counts, trials, seed)
    return [Reorder(swaps, draw=draw) for draw, swaps in drawn]


def single_drops(roads: Sequence[int], skip: Collection[int] = ()) -> list[Lesion]:
    """Drop every branch that meets others in a block once.

    Args:
        roads: How many branches meet in each block that can be dropped, 0 where there are none.
        skip: Blocks to leave alone.

    Returns:
        One lesion a branch, in order.

    Raises:
        LesionError: If ``skip`` names a block that does not exist, or no block has several.
    """
    return [Drop((road,)) for road in every_road(roads, _pool(len(roads), skip))]


def random_drops(
    roads: Sequence[int],
    counts: Iterable[int],
    trials: int,
    seed: int = 0,
    skip: Collection[int] = (),
) -> list[Lesion]:
    """Drop random sets of branches; no block loses all of its own.

    Args:
        roads: How many branches meet in each block that can be dropped, 0 where there are none.
        counts: How many to drop at a time, each in turn.
        trials: Draws for each count.
        seed: Seed of the draws.
        skip: Blocks to leave alone.

    Returns:
        ``trials`` lesions a count.

    Raises:
        LesionError: If a count is below 1 or of more branches than can go, there are no trials, or
            no block has several.
    """
    pool = every_road(roads, _pool(len(roads), skip))
    drawn = random_roads("drop", pool, roads, counts, trials, seed)
    return [Drop(chosen, draw=draw) for draw, chosen in drawn]


def _pool(n: int, skip: Collection[int]) -> list[int]:
    for block in skip:
        if not 1 <= block <= n:
            raise LesionError(f"block {block}: the network has blocks 1 to {n}")
    pool = [block for block in range(1, n + 1) if block not in skip]
    if not pool:
        raise LesionError(f"no blocks left: all {n} are skipped")
    return pool
