"""Lesions of every kind and structures of networks for tests, by hand or drawn at random."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from functools import cache
from typing import Any

from hypothesis import strategies as st

from ensembles.lesions import (
    Delete,
    Drop,
    Duplicate,
    Form,
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
    Structure,
    Transplant,
)

WIDE, NARROW = (16, 32, 32), (32, 16, 16)
SHAPES = [(WIDE, WIDE), (WIDE, WIDE), (WIDE, NARROW), (NARROW, NARROW), (NARROW, NARROW)]
"""Two blocks, a transition, two blocks."""


def structure_of(
    shapes: Sequence[tuple[tuple[int, ...], tuple[int, ...]]],
    transitions: Collection[int] = (),
    **facts: Any,
) -> Structure:
    """A network of residual blocks of some shapes.

    Args:
        shapes: Shape of the input and the output of each block.
        transitions: Numbers of the blocks whose shortcut is not the identity.
        facts: Further facts of every block; of some, where a mapping from numbers is given.
    """

    def of(block: int) -> dict[str, Any]:
        said = {k: v.get(block) if isinstance(v, dict) else v for k, v in facts.items()}
        return {"kind": "residual"} | {k: v for k, v in said.items() if v is not None}

    return Structure(
        tuple(
            Form(
                index=index, name=f"blocks.{index - 1}", in_shape=before, out_shape=after,
                transition=index in transitions, **of(index),
            )
            for index, (before, after) in enumerate(shapes, start=1)
        )
    )  # fmt: skip


def stage(n: int, **facts: Any) -> Structure:
    """A network of blocks that all keep one shape."""
    return structure_of([(WIDE, WIDE)] * n, **facts)


FIVE = structure_of(SHAPES, [3])

_SEEDS = st.integers(0, 2**63 - 1)
_FACTORS = st.floats(allow_nan=False, allow_infinity=False)
_NAMES = st.text(
    st.characters(codec="utf-8", categories=("L", "N", "P", "S", "Zs")), min_size=1, max_size=12
).filter(lambda name: name == name.strip() and name.isprintable() and "then" not in name.split())


@cache
def block_sets(n: int) -> st.SearchStrategy[tuple[int, ...]]:
    """Some blocks of a network."""
    return st.sets(st.integers(1, n), min_size=1, max_size=4).map(tuple)


@cache
def spans(n: int, shortest: int = 2) -> st.SearchStrategy[tuple[int, int]]:
    """Both ends of a span."""
    lengths = st.integers(shortest, min(n, 6))
    return lengths.flatmap(
        lambda length: st.integers(1, n - length + 1).map(lambda a: (a, a + length - 1))
    )


@cache
def single_lesions(n: int = 54) -> st.SearchStrategy[Lesion]:
    """Lesions of every kind but those that are made of others."""
    blocks, block = block_sets(n), st.integers(1, n)
    pairs = st.tuples(block, block).filter(lambda pair: pair[0] != pair[1])
    ranges = spans(n, 1).map(lambda span: tuple(range(span[0], span[1] + 1)))
    exchanged = st.lists(pairs, min_size=1, max_size=4, unique_by=lambda pair: pair[0])
    return st.one_of(
        st.builds(Intact),
        st.builds(Delete, blocks),
        st.builds(Duplicate, blocks),
        st.builds(Reorder, st.lists(pairs, min_size=1, max_size=5).map(tuple)),
        st.builds(
            Drop, st.sets(st.tuples(block, st.integers(1, 9)), min_size=1, max_size=4).map(tuple)
        ),
        st.builds(Scale, blocks, _FACTORS),
        st.builds(Noise, blocks, st.floats(1e-300, 1e300), _SEEDS),
        st.builds(MeanBranch, blocks),
        st.builds(MeanBranch, blocks, st.integers(1, 10**6), st.sampled_from(["train", "x-1"])),
        st.builds(Reset, blocks),
        st.builds(Randomize, blocks, _SEEDS, st.sampled_from(["init", "permute"])),
        exchanged.map(lambda ps: Replace(tuple(a for a, _ in ps), tuple(b for _, b in ps))),
        st.builds(Repeat, st.one_of(spans(n), block.map(lambda b: (b,))), st.integers(2, 9)),
        st.builds(Reverse, spans(n)),
        st.builds(Shuffle, spans(n), _SEEDS),
        st.builds(Parallel, ranges, st.booleans(), st.integers(1, 9)),
        st.builds(Transplant, blocks, _NAMES),
    )


@cache
def any_lesions(n: int = 54) -> st.SearchStrategy[Lesion]:
    """Lesions of every kind, chains and recalibrated ones too."""
    single = single_lesions(n)
    chains = st.lists(single, min_size=2, max_size=4).map(_chained)
    return st.one_of(
        single,
        chains,
        st.tuples(single | chains, st.integers(1, 99), st.integers(1, 999)).map(
            lambda found: found[0].recalibrated(*found[1:])
        ),
    )


def _chained(lesions: Sequence[Lesion]) -> Lesion:
    whole = lesions[0]
    for lesion in lesions[1:]:
        whole = whole.then(lesion)
    return whole
