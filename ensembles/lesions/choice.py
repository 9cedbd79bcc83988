"""The lesions that a few settings ask for, on a network whose structure is known."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any, TypeVar

from ensembles.errors import LesionError, nearest
from ensembles.lesions.draws import own_seed
from ensembles.lesions.kinds import KINDS
from ensembles.lesions.members.none import Intact
from ensembles.lesions.tokens import block_numbers, whole

if TYPE_CHECKING:
    from ensembles.lesions.base import Lesion, Setting
    from ensembles.lesions.structure import Structure

__all__ = ["Choice"]

T = TypeVar("T")
_MOST_LESIONS, _MOST_BATCHES = 1_000_000, 1_000_000
# A kind's own seeds are a thousand for each of these, and torch takes 63 bits.
_LARGEST_SEED = 2**53
_DRAWS = 10
_TYPES: dict[str, tuple[tuple[type, ...], str]] = {
    "int": ((Integral,), "a whole number"),
    "float": ((Real,), "a number"),
    "str": ((str,), "a text"),
    "bool": ((bool,), "true or false"),
}


@dataclass(frozen=True)
class Choice:
    """Which lesions a sweep makes.

    Attributes:
        kind: A name of `KINDS`.
        counts: How many blocks at once (exchanges for ``reorder``, branches for ``drop``, the
            length of the span for kinds that name one): a number or a range. None for what is
            usual for the kind: 1, or 2 where one block alone stays as it is.
        trials: Random draws for each count, by default 10 where anything is drawn. Without it, a
            count of 1 takes every block once, and kinds that name a span every span. For kinds
            with a seed of their own each trial has another.
        seed: Seed of the random draws, and of kinds that have one of their own.
        blocks: Only these; by default all that the kind has a meaning for.
        roads: For ``drop``, pairs of a block and the number of one of the branches that meet in it,
            from 1, or blocks, which stand for all their branches; in place of `blocks`.
        skip_transitions: Whether blocks whose shortcut is not the identity are left alone.
        settings: Settings of the kind, by name; see `Lesion.settings`.
        recalibrated: Measure BatchNorm statistics anew on so many reference batches, under each
            lesion and for the intact network too; None for not at all.
        plan: These lesions, in place of all that the other settings but `recalibrated` ask for.

    Raises:
        LesionError: An unknown kind or setting, a setting that is missing, a count that is none, or
            no trials.
    """

    kind: str = "delete"
    counts: int | range | None = None
    trials: int | None = None
    seed: int = 0
    blocks: tuple[int, ...] | None = None
    roads: tuple[int | tuple[int, int], ...] | None = None
    skip_transitions: bool = False
    settings: Mapping[str, Any] = field(default_factory=dict, hash=False)
    recalibrated: int | None = None
    plan: tuple[Lesion, ...] | None = None

    def __post_init__(self) -> None:
        kind = KINDS.get(self.kind)
        keep = object.__setattr__
        keep(self, "counts", kind.usual if self.counts is None else _counts(self.counts))
        whole("seed", self.seed, -_LARGEST_SEED, _LARGEST_SEED)
        if self.trials is not None:
            whole("trials", self.trials, 1, _MOST_LESIONS)
        if self.recalibrated is not None:
            whole("recalibrated", self.recalibrated, 1, _MOST_BATCHES)
        self._refuse_too_many()
        if self.blocks is not None:
            keep(self, "blocks", _blocks(self.blocks))
        if self.roads is not None:
            keep(self, "roads", _roads(self.kind, self.roads))
        keep(self, "settings", dict(self.settings))
        known = {one.name: one for one in kind.settings()}
        for name, value in self.settings.items():
            _check_setting(kind, known, name, value)
        for one in known.values() if self.plan is None else ():
            if one.default is MISSING and one.name not in self.settings:
                raise LesionError(f"{self.kind} needs the setting {one.name}: {one.help}")
        if self.plan is not None:
            self._refuse_beside_plan()
            keep(self, "plan", tuple(self.plan))

    def _refuse_too_many(self) -> None:
        """Refuse more lesions than any run ends with, before a list of them fills the memory."""
        several = isinstance(self.counts, range)
        # The length of a range of more than 63 bits has no number in Python.
        counts = self.counts.stop - self.counts.start if isinstance(self.counts, range) else 1
        asked = counts * (self.draws if several or self.trials is not None else 1)
        if self.plan is None and asked > _MOST_LESIONS:
            raise LesionError(
                f"{counts} counts with {self.draws} trials: {asked} lesions at least; expected at "
                f"most {_MOST_LESIONS}, so take several runs"
            )

    def _refuse_beside_plan(self) -> None:
        alone: dict[str, Any] = {"counts": KINDS.get(self.kind).usual, "settings": {}}
        beside = [
            one.name.replace("_", "-")
            for one in fields(self)
            if one.name not in ("plan", "recalibrated", "seed")
            and getattr(self, one.name) != alone.get(one.name, one.default)
        ]
        if beside:
            raise LesionError(
                f"a plan names all lesions, found {', '.join(beside)} beside it; leave out one or "
                "the other"
            )

    @property
    def sizes(self) -> tuple[int, ...]:
        """The counts, each in turn."""
        return (self.counts,) if isinstance(self.counts, int) else tuple(self.counts or ())

    @property
    def several(self) -> bool:
        """Whether sets are drawn, rather than each block taken once."""
        return self.trials is not None or self.sizes != (1,)

    @property
    def draws(self) -> int:
        """How many random draws are made for each count, where any are."""
        return _DRAWS if self.trials is None else self.trials

    @property
    def random(self) -> bool:
        """Whether the lesions depend on the seed."""
        return self.plan is None and KINDS.get(self.kind).is_random(self)

    def lesions(self, structure: Structure) -> list[Lesion]:
        """Make the lesions for one network.

        Returns:
            The intact network first, then (where BatchNorm is recalibrated) the intact network
            recalibrated, then the lesions.

        Raises:
            LesionError: If the settings name blocks that do not exist or that the kind has no
                meaning for, or leave none.
        """
        intact: Lesion = Intact()
        if self.plan is not None:
            made = [one for one in self.plan if one != intact]
        else:
            made = KINDS.get(self.kind).sweep(structure, self)
        if not made and self.plan is None:
            raise LesionError(f"{self.kind}: no lesion is left; choose other blocks")
        if self.recalibrated is None:
            return [intact, *made]
        again = (one.recalibrated(self.recalibrated) for one in (intact, *made))
        return [intact, *again]

    # What kinds ask of a choice

    def chosen(self, structure: Structure) -> list[int]:
        """The blocks that may be lesioned.

        Raises:
            LesionError: If a named block does not exist, or none is left.
        """
        n = len(structure)
        for block in self.blocks or ():
            structure.form(block)
        wanted = range(1, n + 1) if self.blocks is None else self.blocks
        skipped = structure.transitions if self.skip_transitions else ()
        left = [block for block in wanted if block not in skipped]
        if not left:
            raise LesionError(f"no blocks left: all {len(wanted)} are skipped")
        return left

    def fitting(
        self,
        structure: Structure,
        places: Iterable[T],
        make: Callable[[T], Lesion],
        *,
        named: bool = True,
    ) -> list[T]:
        """Those places for which a kind has a meaning on a network.

        Args:
            structure: The network.
            places: Blocks, spans, whatever the kind takes.
            make: Makes the lesion of one place.
            named: Whether naming blocks names places, so that one without a meaning is refused.

        Raises:
            LesionError: If a place that was named has no meaning, or no place has one, or a setting
                is none.
        """
        kept, reason = list[T](), ""
        wanted = list(places)
        named = len(wanted) == 1 or (named and (self.blocks or self.roads) is not None)
        for place in wanted:
            lesion = make(place)
            try:
                lesion.require(structure)
            except LesionError as error:
                if named:
                    raise
                reason = reason or str(error)
            else:
                kept.append(place)
        if not kept:
            raise LesionError(f"{self.kind} has no meaning here: {reason}")
        return kept

    def settings_of(self, kind: type[Lesion], trial: int | None = None) -> dict[str, Any]:
        """The settings of a kind's lesion; a seed of its own is another in each trial."""
        found = dict(self.settings)
        if self.seeds_trials(kind):
            found["seed"] = own_seed(found.get("seed", self.seed), trial)
        return found

    def seeds_trials(self, kind: type[Lesion]) -> bool:
        """Whether a kind has a seed of its own, so that the same blocks may be lesioned again."""
        return any(one.name == "seed" for one in kind.settings())

    def seeds(self, kind: type[Lesion]) -> bool:
        """Whether lesions of a kind have the choice's seed for their own."""
        return self.seeds_trials(kind) and "seed" not in self.settings

    @property
    def each_trial(self) -> tuple[int | None, ...]:
        """The number of each trial of a lesion that is not drawn; None where there are none."""
        return (None,) if self.trials is None else tuple(range(self.trials))


def _counts(counts: Any) -> int | range:
    if isinstance(counts, range):
        if not counts or counts.step != 1 or counts.start < 1:
            raise LesionError(f"count {counts}: expected a range of numbers from 1 on")
        return counts.start if counts.stop - counts.start == 1 else counts
    return whole("count", counts, 1)


def _blocks(blocks: Any) -> tuple[int, ...]:
    if isinstance(blocks, tuple) and not blocks:
        raise LesionError("blocks (): names none; expected numbers such as (3, 17)")
    return block_numbers("list of blocks", blocks)


def _roads(kind: str, roads: Sequence[Any]) -> tuple[int | tuple[int, int], ...]:
    if kind != "drop":
        raise LesionError(f"branches are for drop, found them beside {kind}; name blocks")
    if not roads:
        raise LesionError("branches (): names none; expected pairs such as (3, 2)")
    return tuple(one if isinstance(one, int) else (one[0], one[1]) for one in roads)


def _check_setting(kind: type[Lesion], known: Mapping[str, Setting], name: str, value: Any) -> None:
    if name not in known:
        expected = ", ".join(known) or "none"
        raise LesionError(
            f"setting '{name}' of {kind.kind} is unknown; expected {expected}{nearest(name, known)}"
        )
    setting = known[name]
    types, meant = _TYPES.get(setting.type, ((object,), ""))
    if not isinstance(value, types) or (isinstance(value, bool) and bool not in types):
        raise LesionError(f"setting {name} of {kind.kind}: {value!r}; expected {meant}")
    if setting.choices and value not in setting.choices:
        raise LesionError(
            f"setting {name} of {kind.kind}: {value!r}; expected {' or '.join(setting.choices)}"
        )
