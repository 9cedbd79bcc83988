"""Lesions as version 1 wrote them: one class, and a kind by name."""

from __future__ import annotations

from collections.abc import Iterable

from ensembles.errors import LesionError
from ensembles.lesions.base import Draw, Lesion
from ensembles.lesions.kinds import KINDS

__all__ = ["DrawnSeed", "lesion_of"]

_WANTED = {
    "none": (False, False, False),
    "reorder": (False, True, False),
    "drop": (False, False, True),
}
_MEANT = {
    "none": "names no blocks",
    "reorder": "needs one swap or more, such as 3-17, and no other blocks",
    "drop": "needs one branch or more, such as 3.2, and no whole blocks",
}


class DrawnSeed:
    """The attribute that version 1 gave the seed of the random draw."""

    draw: Draw | None

    @property
    def seed(self) -> int | None:
        """Seed of the random draw; None where nothing was drawn."""
        return None if self.draw is None else self.draw.seed


def lesion_of(  # noqa: PLR0917 (as version 1 had it)
    kind: str,
    blocks: Iterable[int] = (),
    swaps: Iterable[tuple[int, int]] = (),
    trial: int | None = None,
    seed: int | None = None,
    roads: Iterable[tuple[int, int]] = (),
) -> Lesion:
    """The lesion that version 1 wrote ``Lesion(kind, blocks, swaps, trial, seed, roads)``.

    Args:
        kind: A name of `KINDS`. Those that version 1 did not have take the blocks alone, and their
            own settings as they are by default.
        blocks: Blocks of all kinds but these two:
        swaps: For ``reorder``, pairs of positions.
        trial: Number of the random draw, from 0; None where nothing was drawn.
        seed: Seed of the random draw.
        roads: For ``drop``, pairs of a block and the number of one of its branches.

    Raises:
        LesionError: If the kind is unknown, or takes others than what it was given.

    >>> lesion_of("delete", (17, 3))
    Delete(blocks=(3, 17))
    """
    make = KINDS.get(kind)
    named, pairs, numbers = tuple(blocks), tuple(swaps), tuple(roads)
    if (bool(named), bool(pairs), bool(numbers)) != _WANTED.get(kind, (True, False, False)):
        meant = _MEANT.get(kind, "needs one block or more, no swaps")
        raise LesionError(f"lesion '{kind}' {meant}")
    draw = None if trial is None else Draw(trial, 0 if seed is None else seed)
    given: dict[str, tuple[object, ...]] = {"none": (), "reorder": (pairs,), "drop": (numbers,)}
    return make(*given.get(kind, (named,)), draw=draw)
