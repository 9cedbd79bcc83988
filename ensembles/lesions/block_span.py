"""What kinds share that name a span of positions: neighbours with both ends."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

from ensembles.errors import LesionError
from ensembles.lesions.base import Lesion
from ensembles.lesions.draws import random_places
from ensembles.lesions.steps import Program
from ensembles.lesions.structure import Structure, arrow
from ensembles.lesions.tokens import SPAN, Mark, read_marks, whole

if TYPE_CHECKING:
    from typing_extensions import Self

    from ensembles.lesions.choice import Choice

__all__ = ["BlockSpan", "Spanning", "require_stage", "span_numbers"]


class Spanning(Lesion):
    """A kind whose lesions are of neighbours; a sweep takes every span, or random ones."""

    @classmethod
    @abstractmethod
    def of_span(cls, first: int, last: int, settings: Mapping[str, Any]) -> Self:
        """The lesion of a span with some settings."""

    @classmethod
    def sweep(cls, structure: Structure, choice: Choice) -> list[Lesion]:
        """Each span of as many blocks as the count says, or random ones; see `Lesion.sweep`."""
        wanted, found = frozenset(choice.chosen(structure)), list[Lesion]()
        for size in choice.sizes:
            spans = [
                (first, first + size - 1)
                for first in range(1, len(structure) - size + 2)
                if wanted.issuperset(range(first, first + size))
            ]
            if not spans:
                raise LesionError(
                    f"count {size}: no span of so many neighbours among the blocks to choose from"
                )
            pool = choice.fitting(structure, spans, partial(cls._made, choice), named=False)
            if choice.trials is None or choice.seeds_trials(cls):
                found += [
                    cls._made(choice, span, trial) for span in pool for trial in choice.each_trial
                ]
            else:
                drawn = random_places(cls.kind, size, pool, choice.trials, choice.seed)
                found += [cls._made(choice, span, draw.trial) for draw, span in drawn]
        return found

    @classmethod
    def is_random(cls, choice: Choice) -> bool:
        """Whether what a choice makes depends on its seed."""
        return choice.trials is not None or choice.seeds(cls)

    @classmethod
    def _made(cls, choice: Choice, span: tuple[int, int], trial: int | None = None) -> Self:
        lesion = cls.of_span(*span, choice.settings_of(cls, trial))
        return lesion if trial is None else lesion.drawn(trial, choice.seed)


@dataclass(frozen=True)
class BlockSpan(Spanning):
    """A lesion of what stands at neighbouring positions, as a whole.

    Attributes:
        span: The first position and the last one, both of which belong to it.
        example: What a text of the kind looks like, for messages.
        forms: The words of a text that stand for settings, in their order.

    Raises:
        LesionError: If it is no span of two positions or more.
    """

    span: tuple[int, int]

    usual: ClassVar[int] = 2
    example: ClassVar[str] = "a span such as 10-20"
    forms: ClassVar[Sequence[Mark]] = ()

    def __post_init__(self) -> None:
        first, last = span_numbers(self.kind, self.span)
        if first == last:
            raise LesionError(
                f"{self.kind} of {first}-{last}: a span of one block stays as it is; name two or "
                "more"
            )
        object.__setattr__(self, "span", (first, last))

    @property
    def blocks(self) -> tuple[int, ...]:
        """All positions of the span."""
        return tuple(range(self.span[0], self.span[1] + 1))

    @property
    def marks(self) -> tuple[str, ...]:
        """The words of the text that stand for settings."""
        return ()

    @property
    def text(self) -> str:
        """The span and the settings, such as ``"10-20"``."""
        return " ".join([f"{self.span[0]}-{self.span[1]}", *self.marks])

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read :attr:`text` back."""
        words = text.split()
        match = SPAN.fullmatch(words[0]) if words else None
        if match is None:
            raise LesionError(f"blocks {text!r}: {cls.kind} expects {cls.example}")
        span = int(match.group(1)), int(match.group(2))
        return cls(span, **read_marks(cls.kind, words[1:], cls.forms, cls.example))

    def described(self, names: Sequence[str]) -> str:
        """The modules of both ends."""
        return f"{names[self.span[0] - 1]}-{names[self.span[1] - 1]}"

    @classmethod
    def of_span(cls, first: int, last: int, settings: Mapping[str, Any]) -> Self:
        """The lesion of a span with some settings."""
        return cls((first, last), **settings)

    def check(self, structure: Structure) -> None:
        """Refuse a span that leaves a stage of equal shape."""
        require_stage(self, structure)

    def in_order(self, program: Program, order: Sequence[int]) -> Program:
        """The program with what stands in the span in another order.

        Args:
            program: What ran before.
            order: Places within the span, from 0, in the order in which they are to run.
        """
        first, last = self.span
        inside = program[first - 1 : last]
        return (*program[: first - 1], *(inside[place] for place in order), *program[last:])


_MOST_BLOCKS = 1_000_000
"""Largest number of a block: a text of a few signs must not name more blocks than memory holds."""


def span_numbers(kind: str, span: Any) -> tuple[int, int]:
    """Both ends of a span.

    Raises:
        LesionError: If it has not two ends, from 1 on, the first of which comes first.
    """
    if isinstance(span, str) or not isinstance(span, Sequence) or len(span) != 2:
        raise LesionError(f"{kind} of {span!r}: expected both ends of a span, such as (10, 20)")
    first, last = (whole(f"{kind}: block", end, most=_MOST_BLOCKS) for end in span)
    if first < 1:
        raise LesionError(f"block {first}: blocks are numbered from 1")
    if last < first:
        raise LesionError(f"{kind} of {first}-{last}: the span ends before it begins")
    return first, last


def require_stage(lesion: Lesion, structure: Structure) -> None:
    """Refuse blocks that are not neighbours in one stage, all of the lesion's blocks.

    Raises:
        LesionError: Naming the first that is a transition, has another shape, stands behind
            something that is no block, or has no place in an order.
    """
    forms = [structure.form(block) for block in lesion.blocks]
    first = forms[0]
    advice = "choose a span within a stage of equal shape"
    for form in forms:
        if not form.ordered:
            raise LesionError(
                f"{lesion}: the blocks are members of an average, whose order means nothing; "
                "delete or duplicate them"
            )
        if form.transition or not form.keeps_shape:
            raise LesionError(f"{lesion}: {form.label} is a transition ({arrow(form)}); {advice}")
        if form.in_shape != first.in_shape:
            raise LesionError(
                f"{lesion}: {first.label} maps {arrow(first)}, {form.label} {arrow(form)}; {advice}"
            )
        if form.passage and form is not first:
            raise LesionError(
                f"{lesion}: something that is no block stands before {form.label} and keeps its "
                "place; choose a span on one side of it"
            )
