"""Sets of lesions: every block in turn, random sets of blocks, random swaps."""

from __future__ import annotations

import random
from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import combinations

from ensembles.errors import LesionError
from ensembles.lesions.values import Kind, Lesion, require_block


def intact() -> Lesion:
    """The network as it is."""
    return Lesion("none")


def single_deletions(n: int, skip: Collection[int] = ()) -> list[Lesion]:
    """Delete every block once.

    Args:
        n: Number of blocks of the network.
        skip: Blocks to leave alone.

    Returns:
        One deletion a block, in order.

    Raises:
        LesionError: ``skip`` names a block that does not exist, or leaves none.
    """
    return [Lesion("delete", (block,)) for block in _pool(n, skip)]


def random_deletions(
    n: int, counts: Iterable[int], trials: int, seed: int = 0, skip: Collection[int] = ()
) -> list[Lesion]:
    """Delete random sets of blocks, each set of a size as likely as any other.

    A draw depends on seed, count, trial and the blocks to draw from, not on which other
    draws are asked for, and is the same on every machine.

    Args:
        n: Number of blocks of the network.
        counts: How many blocks to delete at a time, each in turn.
        trials: Draws for each count.
        seed: Seed of the draws.
        skip: Blocks to leave alone.

    Returns:
        ``trials`` lesions a count.

    Raises:
        LesionError: A count below 1 or larger than the number of blocks, no trials, or
            ``skip`` names a block that does not exist.
    """
    return _random_sets("delete", n, skip, _draws(counts, trials), seed)


def random_duplications(
    n: int, counts: Iterable[int], trials: int, seed: int = 0, skip: Collection[int] = ()
) -> list[Lesion]:
    """Duplicate random sets of blocks; as :func:`random_deletions` otherwise."""
    return _random_sets("duplicate", n, skip, _draws(counts, trials), seed)


def random_swaps(
    groups: Iterable[Sequence[int]], counts: Iterable[int], trials: int, seed: int = 0
) -> list[Lesion]:
    """Reorder blocks by random swaps, every exchangeable pair as likely as any other.

    As in the published lesions, a block may be exchanged more than once.

    Args:
        groups: Blocks that may change places with each other, from :func:`exchangeable`.
        counts: How many swaps to make, each in turn.
        trials: Draws for each count.
        seed: Seed of the draws.

    Returns:
        ``trials`` lesions a count.

    Raises:
        LesionError: A count below 1, no trials, or no two blocks that can change places.
    """
    pairs = [pair for group in groups for pair in combinations(group, 2)]
    if not pairs:
        raise LesionError(
            "no two blocks can change places: reorder needs two blocks of equal shape that are "
            "no transitions"
        )
    lesions = []
    for count, trial in _draws(counts, trials):
        draw = _generator("reorder", seed, count, trial)
        swaps = tuple(pairs[_below(draw, len(pairs))] for _ in range(count))
        lesions.append(Lesion("reorder", swaps=swaps, trial=trial, seed=seed))
    return lesions


def single_drops(roads: Sequence[int], skip: Collection[int] = ()) -> list[Lesion]:
    """Drop every road of every block once.

    Args:
        roads: How many roads each block has that can be dropped, 0 where there are none.
        skip: Blocks to leave alone.

    Returns:
        One lesion a road, in order.

    Raises:
        LesionError: ``skip`` names a block that does not exist, or no block has several roads.
    """
    return [Lesion("drop", roads=(road,)) for road in _road_pool(roads, skip)]


def random_drops(
    roads: Sequence[int],
    counts: Iterable[int],
    trials: int,
    seed: int = 0,
    skip: Collection[int] = (),
) -> list[Lesion]:
    """Drop random sets of roads; no block loses all of its roads.

    Args:
        roads: How many roads each block has that can be dropped, 0 where there are none.
        counts: How many roads to drop at a time, each in turn.
        trials: Draws for each count.
        seed: Seed of the draws.
        skip: Blocks to leave alone.

    Returns:
        ``trials`` lesions a count.

    Raises:
        LesionError: A count below 1 or of more roads than can go, no trials, or no block with
            several roads.
    """
    pool, lesions = _road_pool(roads, skip), []
    most = len(pool) - len({block for block, _ in pool})
    for count, trial in _draws(counts, trials):
        if count > most:
            raise LesionError(
                f"count {count}: at most {most} of {len(pool)} roads can be dropped at once, "
                "so that each block keeps one"
            )
        draw, rest = _generator("drop", seed, count, trial), list(pool)
        chosen: list[tuple[int, int]] = []
        while len(chosen) < count:
            road = rest.pop(_below(draw, len(rest)))
            lost = sum(block == road[0] for block, _ in chosen)
            if lost < roads[road[0] - 1] - 1:
                chosen.append(road)
        lesions.append(Lesion("drop", roads=tuple(chosen), trial=trial, seed=seed))
    return lesions


def _road_pool(roads: Sequence[int], skip: Collection[int]) -> list[tuple[int, int]]:
    kept = _pool(len(roads), skip)
    pool = [(block, road) for block in kept for road in range(1, roads[block - 1] + 1)]
    if not pool:
        raise LesionError(
            "no block has several roads: drop takes blocks where several roads meet, as in "
            "Inception or FractalNet; delete whole blocks"
        )
    return pool


def _pool(n: int, skip: Collection[int]) -> list[int]:
    for block in skip:
        require_block(block, n)
    pool = [block for block in range(1, n + 1) if block not in skip]
    if not pool:
        raise LesionError(f"no blocks left: all {n} are skipped")
    return pool


def _random_sets(
    kind: Kind, n: int, skip: Collection[int], draws: Iterable[tuple[int, int]], seed: int
) -> list[Lesion]:
    pool, lesions = _pool(n, skip), []
    for count, trial in draws:
        if count > len(pool):
            left = f", of which {len(pool)} may be chosen" if len(pool) < n else ""
            raise LesionError(f"count {count}: the network has {n} blocks{left}")
        uniform, rest = _generator(kind, seed, count, trial).random, list(pool)
        sizes = range(len(pool), len(pool) - count, -1)
        blocks = tuple([rest.pop(int(uniform() * bound)) for bound in sizes])
        lesions.append(Lesion(kind, blocks, trial=trial, seed=seed))
    return lesions


def _draws(counts: Iterable[int], trials: int) -> Iterator[tuple[int, int]]:
    if trials < 1:
        raise LesionError(f"trials {trials}: expected 1 or more")
    for count in counts:
        if count < 1:
            raise LesionError(f"count {count}: expected 1 or more")
        for trial in range(trials):
            yield count, trial


def _generator(kind: Kind, seed: int, count: int, trial: int) -> random.Random:
    return random.Random(f"{kind}-{seed}-{count}-{trial}")


def _below(draw: random.Random, bound: int) -> int:
    """A whole number below ``bound``, from the one method that Python promises to keep."""
    return int(draw.random() * bound)
