"""Lesions of every kind that a network takes, for tests."""

from __future__ import annotations

import random
from collections.abc import Iterator
from itertools import islice

from ensembles.decomposition import Decomposition
from ensembles.engine import check_lesions, lesioned_module
from ensembles.errors import LesionError
from ensembles.lesions import (
    Delete,
    Drop,
    Duplicate,
    Intact,
    Lesion,
    MeanBranch,
    Noise,
    Parallel,
    Randomize,
    Reorder,
    Repeat,
    Replace,
    Reset,
    Reverse,
    Scale,
    Shuffle,
    Transplant,
)

REFERENCE = 12
"""Observations that a mean is over."""


def every_kind(net: Decomposition, seed: int = 0, each: int = 2) -> list[Lesion]:
    """The intact network, and up to some lesions of each kind that have a meaning."""
    draw = random.Random(seed)
    found: list[Lesion] = [Intact()]
    for kind in _candidates(net, draw):
        mixed = draw.sample(kind, len(kind))
        fitting = (one for one in mixed if fits(one, net) and _can_be_drawn(net, one))
        found += islice(fitting, each)
    return found


def fits(lesion: Lesion, net: Decomposition) -> bool:
    """Whether a lesion has a meaning on a network."""
    try:
        check_lesions(net, [lesion])
    except LesionError:
        return False
    return True


def chains(sweep: list[Lesion], net: Decomposition, seed: int = 0, count: int = 4) -> list[Lesion]:
    """Some lesions of a sweep one after the other, where that has a meaning."""
    draw = random.Random(seed)
    pairs = [(one, other) for one in sweep[1:] for other in sweep[1:]]
    draw.shuffle(pairs)
    found: list[Lesion] = []
    for one, other in pairs:
        chain = one.then(other)
        if fits(chain, net):
            found.append(chain)
        if len(found) == count:
            break
    return found


def _can_be_drawn(net: Decomposition, lesion: Lesion) -> bool:
    """Whether all weights that are drawn anew belong to modules that know how."""
    if not isinstance(lesion, Randomize):
        return True
    try:
        lesioned_module(net, lesion)
    except LesionError:
        return False
    return True


def _candidates(net: Decomposition, draw: random.Random) -> Iterator[list[Lesion]]:
    n = len(net)
    sets = [(block,) for block in range(1, n + 1)]
    if n > 1:
        sets += [tuple(draw.sample(range(1, n + 1), 2)) for _ in range(2)]
    pairs = [(a, b) for a in range(1, n + 1) for b in range(1, n + 1) if a != b]
    spans = [(a, b) for a, b in pairs if a < b]
    seeds = range(3)
    yield [Delete(blocks) for blocks in sets]
    yield [Duplicate(blocks) for blocks in sets]
    yield [Reorder((pair,)) for pair in pairs]
    yield [
        Drop(((b, r),)) for b, count in enumerate(net.road_counts, 1) for r in range(1, count + 1)
    ]
    yield [Scale(blocks, factor) for blocks in sets for factor in (0.0, -0.5, 0.5, 1.0, 2.0)]
    yield [Noise(blocks, 0.3, seed=seed) for blocks in sets for seed in seeds]
    yield [MeanBranch(blocks, REFERENCE) for blocks in sets]
    yield [Reset(blocks) for blocks in sets]
    yield [Randomize(blocks, seed=seed) for blocks in sets for seed in seeds]
    yield [Randomize(blocks, seed=seed, how="permute") for blocks in sets for seed in seeds]
    yield [Replace(a, by=b) for a, b in pairs]
    yield [Repeat((block,), 3) for block in range(1, n + 1)] + [Repeat(span, 2) for span in spans]
    yield [Reverse(span) for span in spans]
    yield [Shuffle(span, seed=seed) for span in spans for seed in seeds]
    yield [
        Parallel(tuple(range(a, b + 1)), mean=mean, loops=loops)
        for a, b in [*spans, *((block, block) for block in range(1, n + 1))]
        for mean in (False, True)
        for loops in (1, 2)
    ]
    yield [Transplant(blocks, "other") for blocks in sets]
