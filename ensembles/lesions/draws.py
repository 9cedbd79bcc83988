"""Random draws of blocks, swaps, branches and spans: the same on every machine.

A draw depends on the kind of lesion, the seed, the count and the number of the trial, and on what
there is to draw from; not on which other draws are asked for. So more trials keep those that were
made before.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterable, Iterator, Sequence
from typing import TypeVar

from ensembles.errors import LesionError
from ensembles.lesions.base import Draw

__all__ = [
    "hashed", "own_seed", "random_order", "random_picks", "random_places", "random_roads",
    "random_sets",
]  # fmt: skip

T = TypeVar("T")
_SEEDS_A_DRAW = 1000


def random_sets(  # noqa: PLR0917 (what a draw depends on)
    kind: str, n: int, pool: Sequence[int], counts: Iterable[int], trials: int, seed: int
) -> Iterator[tuple[Draw, tuple[int, ...]]]:
    """Sets of blocks, each set of a size as likely as any other.

    Args:
        kind: Of the lesion.
        n: Number of blocks of the network.
        pool: The blocks to draw from.
        counts: How many blocks at a time, each in turn.
        trials: Draws for each count.
        seed: Seed of the draws.

    Raises:
        LesionError: If a count is below 1 or larger than the pool, or there are no trials.
    """
    for count, trial in _trials(counts, trials):
        if count > len(pool):
            left = f", of which {len(pool)} may be chosen" if len(pool) < n else ""
            raise LesionError(f"count {count}: the network has {n} blocks{left}")
        draw, rest = _generator(kind, seed, count, trial), list(pool)
        sizes = range(len(pool), len(pool) - count, -1)
        yield Draw(trial, seed), tuple([rest.pop(_below(draw, size)) for size in sizes])


def random_picks(
    kind: str, pool: Sequence[T], counts: Iterable[int], trials: int, seed: int
) -> Iterator[tuple[Draw, tuple[T, ...]]]:
    """As many picks as the count says, one of which may come several times."""
    for count, trial in _trials(counts, trials):
        draw = _generator(kind, seed, count, trial)
        yield Draw(trial, seed), tuple(pool[_below(draw, len(pool))] for _ in range(count))


def random_places(
    kind: str, count: int, pool: Sequence[T], trials: int, seed: int
) -> Iterator[tuple[Draw, T]]:
    """One pick a trial, of what has the size that the count says."""
    for _, trial in _trials([count], trials):
        draw = _generator(kind, seed, count, trial)
        yield Draw(trial, seed), pool[_below(draw, len(pool))]


def random_roads(  # noqa: PLR0917 (what a draw depends on)
    kind: str,
    pool: Sequence[tuple[int, int]],
    roads: Sequence[int],
    counts: Iterable[int],
    trials: int,
    seed: int,
) -> Iterator[tuple[Draw, tuple[tuple[int, int], ...]]]:
    """Sets of branches that meet in a block, such that no block loses all of its own.

    Args:
        kind: Of the lesion.
        pool: Pairs of a block and the number of one of its branches, to draw from.
        roads: How many branches meet in each block.
        counts: How many to drop at a time, each in turn.
        trials: Draws for each count.
        seed: Seed of the draws.

    Raises:
        LesionError: If a count is below 1 or of more than can go, or there are no trials.
    """
    offered = {block: sum(one == block for one, _ in pool) for block, _ in pool}
    most = sum(min(offered[block], roads[block - 1] - 1) for block in offered)
    for count, trial in _trials(counts, trials):
        if count > most:
            raise LesionError(
                f"count {count}: at most {most} of {len(pool)} branches can be dropped at once, "
                "so that each block keeps one"
            )
        draw, rest = _generator(kind, seed, count, trial), list(pool)
        chosen: list[tuple[int, int]] = []
        while len(chosen) < count:
            road = rest.pop(_below(draw, len(rest)))
            lost = sum(block == road[0] for block, _ in chosen)
            if lost < roads[road[0] - 1] - 1:
                chosen.append(road)
        yield Draw(trial, seed), tuple(chosen)


def random_order(count: int, *key: object) -> tuple[int, ...]:
    """An order of 0 to count - 1, any but the given one as likely as any other.

    Args:
        count: How many there are, 2 or more.
        key: What the order depends on.
    """
    draw = random.Random("-".join(map(str, key)))
    while True:
        rest = list(range(count))
        order = tuple([rest.pop(_below(draw, size)) for size in range(count, 0, -1)])
        if order != tuple(range(count)):
            return order


def own_seed(seed: int, trial: int | None) -> int:
    """The seed that a lesion of its own randomness has in a trial; without trials, the seed.

    Raises:
        LesionError: If there are more trials than seeds are set apart for.
    """
    if trial is None:
        return seed
    if trial >= _SEEDS_A_DRAW:
        raise LesionError(
            f"trials: more than {_SEEDS_A_DRAW} of a kind with a seed of its own; take another "
            "seed for the others"
        )
    return _SEEDS_A_DRAW * seed + trial


def hashed(*key: object) -> int:
    """A number of 63 bits that depends on a key alone."""
    digest = hashlib.sha256("-".join(map(str, key)).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def _trials(counts: Iterable[int], trials: int) -> Iterator[tuple[int, int]]:
    if trials < 1:
        raise LesionError(f"trials {trials}: expected 1 or more")
    for count in counts:
        if count < 1:
            raise LesionError(f"count {count}: expected 1 or more")
        for trial in range(trials):
            yield count, trial


def _generator(kind: str, seed: int, count: int, trial: int) -> random.Random:
    return random.Random(f"{kind}-{seed}-{count}-{trial}")


def _below(draw: random.Random, bound: int) -> int:
    """A whole number below a bound, from the one method that Python promises to keep."""
    return int(draw.random() * bound)
