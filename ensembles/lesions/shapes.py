"""Which blocks a lesion may touch, given the shapes of their inputs and outputs."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from ensembles.errors import LesionError
from ensembles.lesions.values import Lesion

Shape = tuple[int, ...]


def check(
    lesion: Lesion, shapes: Sequence[tuple[Shape, Shape]], transitions: Collection[int] = ()
) -> None:
    """Hold a lesion against the shapes of a network's blocks.

    Args:
        lesion: The lesion.
        shapes: Shape of the input and the output of each block, without the batch dimension.
        transitions: Numbers of the blocks whose shortcut is not the identity.

    Raises:
        LesionError: A block that the network does not have, a swap of blocks of unequal shape
            or of a transition, or a duplicate of a block that changes the shape.
    """
    lesion.require(len(shapes))
    for a, b in lesion.swaps:
        for block in (a, b):
            if block in transitions:
                raise LesionError(
                    f"swap {a}-{b}: block {block} is a transition ({_arrow(shapes[block - 1])}); "
                    "reorder exchanges blocks that are none"
                )
        if shapes[a - 1] != shapes[b - 1]:
            raise LesionError(
                f"swap {a}-{b}: block {a} maps {_arrow(shapes[a - 1])}, block {b} "
                f"{_arrow(shapes[b - 1])}; reorder exchanges blocks of equal shape"
            )
    if lesion.kind == "duplicate":
        for block in lesion.blocks:
            before, after = shapes[block - 1]
            if before != after:
                raise LesionError(
                    f"duplicate of block {block}: it maps {_arrow((before, after))} and so cannot "
                    "run twice in a row; name blocks that keep the shape"
                )


def exchangeable(
    shapes: Sequence[tuple[Shape, Shape]], transitions: Collection[int] = ()
) -> tuple[tuple[int, ...], ...]:
    """Group the blocks that can change places: equal shapes, no transitions.

    Args:
        shapes: Shape of the input and the output of each block, without the batch dimension.
        transitions: Numbers of the blocks whose shortcut is not the identity.

    Returns:
        Groups of two block numbers or more, in the order of their first block.

    >>> exchangeable([((8,), (8,)), ((8,), (4,)), ((8,), (8,))], transitions=[2])
    ((1, 3),)
    """
    groups: dict[tuple[Shape, Shape], list[int]] = {}
    for block, shape in enumerate(shapes, start=1):
        if block not in transitions:
            groups.setdefault(shape, []).append(block)
    return tuple(tuple(group) for group in groups.values() if len(group) > 1)


def _arrow(shape: tuple[Shape, Shape]) -> str:
    return " to ".join("x".join(map(str, side)) for side in shape)
