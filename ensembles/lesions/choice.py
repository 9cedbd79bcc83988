"""The lesions that a few settings ask for, on a network whose shapes are known."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from ensembles.errors import LesionError, nearest
from ensembles.lesions.draws import (
    intact,
    random_deletions,
    random_drops,
    random_duplications,
    random_swaps,
    single_deletions,
    single_drops,
)
from ensembles.lesions.shapes import Shape, exchangeable
from ensembles.lesions.text import parse_blocks, parse_counts, parse_roads, read_plan
from ensembles.lesions.values import Lesion

_CHOSEN = ("delete", "reorder", "duplicate", "drop")
_TRIALS = 10


@dataclass(frozen=True)
class Choice:
    """Which lesions a sweep makes.

    Attributes:
        kind: ``delete``, ``reorder``, ``duplicate`` or ``drop``.
        count: How many blocks at once (for ``reorder`` exchanges, for ``drop`` roads), as ``"1"``
            or ``"1-20"``.
        trials: Random draws for each count, by default 10. Without it, a count of 1 deletes or
            duplicates every block once, or drops every road.
        seed: Of the random draws.
        blocks: Only these, as ``"3,17"`` or ``"20-25"``, for ``drop`` also roads, as ``"3.2"``; by
            default all.
        skip_transitions: Whether blocks whose shortcut is not the identity are left alone.
        plan: A CSV file with the columns ``lesion`` and ``blocks``, in place of all others.

    Raises:
        LesionError: An unknown kind, a count that is none, or no trials.
    """

    kind: str = "delete"
    count: str = "1"
    trials: int | None = None
    seed: int = 0
    blocks: str | None = None
    skip_transitions: bool = False
    plan: str | None = None

    def __post_init__(self) -> None:
        if self.kind not in _CHOSEN:
            raise LesionError(
                f"kind {self.kind!r} is unknown: expected {', '.join(_CHOSEN)}"
                f"{nearest(self.kind, _CHOSEN)}"
            )
        parse_counts(self.count)
        if self.trials is not None and self.trials < 1:
            raise LesionError(f"trials {self.trials}: expected 1 or more")
        if self.plan is not None:
            self._refuse_beside_plan()

    def _refuse_beside_plan(self) -> None:
        settings = ("kind", "count", "trials", "blocks", "skip_transitions")
        beside = [
            name.replace("_", "-")
            for name in settings
            if getattr(self, name) != self.__dataclass_fields__[name].default
        ]
        if beside:
            raise LesionError(
                f"plan {self.plan}: a plan names all lesions, found {', '.join(beside)} beside it; "
                "leave out one or the other"
            )

    @property
    def random(self) -> bool:
        """Whether lesions are drawn at random, rather than each one made once."""
        if self.plan is not None:
            return False
        several = self.trials is not None or list(parse_counts(self.count)) != [1]
        return self.kind == "reorder" or several

    def lesions(
        self,
        shapes: Sequence[tuple[Shape, Shape]],
        transitions: Collection[int] = (),
        roads: Sequence[int] | None = None,
    ) -> list[Lesion]:
        """Make the lesions for one network.

        Args:
            shapes: Shape of the input and the output of each block, without the batch dimension.
            transitions: Numbers of the blocks whose shortcut is not the identity.
            roads: How many roads each block has that can be dropped; by default none.

        Returns:
            The intact network first, then the lesions.

        Raises:
            LesionError: The settings name blocks that do not exist, or leave none.
        """
        n = len(shapes)
        if self.plan is not None:
            return [intact(), *read_plan(self.plan, n)]
        if self.kind == "drop":
            counts = list(roads) if roads is not None else [0] * n
            return [intact(), *self._drops(counts, set(transitions))]
        everything = range(1, n + 1)
        wanted = set(everything if self.blocks is None else parse_blocks(self.blocks, n))
        if self.skip_transitions:
            wanted -= set(transitions)
        return [intact(), *self._drawn(wanted, shapes, transitions)]

    def _drops(self, roads: Sequence[int], transitions: Collection[int]) -> list[Lesion]:
        skip = transitions if self.skip_transitions else ()
        counts = parse_counts(self.count)
        if self.blocks is not None and not self.random:
            chosen = parse_roads(self.blocks, roads)
            return [Lesion("drop", roads=(one,)) for one in chosen if one[0] not in skip]
        if self.blocks is not None:
            wanted = parse_blocks(self.blocks, len(roads))
            skip = {*skip, *range(1, len(roads) + 1)}.difference(wanted)
        if not self.random:
            return single_drops(roads, skip)
        return random_drops(roads, counts, self.trials or _TRIALS, self.seed, skip)

    def _drawn(
        self,
        wanted: set[int],
        shapes: Sequence[tuple[Shape, Shape]],
        transitions: Collection[int],
    ) -> list[Lesion]:
        n, counts, trials = len(shapes), parse_counts(self.count), self.trials or _TRIALS
        if self.kind == "reorder":
            groups = [
                [index for index in group if index in wanted]
                for group in exchangeable(shapes, transitions)
            ]
            return random_swaps(groups, counts, trials, self.seed)
        skip = set(range(1, n + 1)) - wanted
        if self.kind == "duplicate":
            skip |= {i for i, (before, after) in enumerate(shapes, start=1) if before != after}
            if len(skip) == n:
                raise LesionError("no blocks left to duplicate: each changes the shape")
            if not self.random:
                return [Lesion("duplicate", (b,)) for b in range(1, n + 1) if b not in skip]
            return random_duplications(n, counts, trials, self.seed, skip)
        if not self.random:
            return single_deletions(n, skip)
        return random_deletions(n, counts, trials, self.seed, skip)
