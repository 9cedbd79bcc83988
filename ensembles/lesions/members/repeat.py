"""Blocks, or spans of them, that run several times in a row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from ensembles.errors import LesionError
from ensembles.lesions.base import Words, setting
from ensembles.lesions.block_span import Spanning, require_stage, span_numbers
from ensembles.lesions.occurrences import Alone, at_every_block, refused
from ensembles.lesions.steps import Bypass, Program, Step
from ensembles.lesions.structure import Structure, arrow
from ensembles.lesions.tokens import NUMBER, SPAN, TIMES, read_marks, whole

if TYPE_CHECKING:
    from typing_extensions import Self


__all__ = ["Repeat"]

_MOST_TIMES = 10_000


_MOST_TIMES = 10_000


@dataclass(frozen=True)
class Repeat(Spanning):
    """Run a block several times in a row, or a span as a whole (RYS; mergekit's passthrough).

    A single block is meant wherever it runs; a span is one of positions.

    Attributes:
        span: One block, or the first position and the last one.
        times: How often it runs, 2 to 10,000.

    Raises:
        LesionError: If it names neither a block nor a span, or runs once.

    >>> Repeat((4,), 3).text, Repeat((4, 7), 2).text
    ('4 x3', '4-7 x2')
    """

    span: tuple[int, ...]
    times: int = setting("How often the block, or the span, runs in a row.", 2)

    kind: ClassVar[str] = "repeat"
    summary: ClassVar[str] = "a block, or a span as a whole, runs several times in a row"
    words: ClassVar[Words] = Words("Repeated block", "Number of repeated blocks", "repeated")
    example: ClassVar[str] = "a block or a span, such as 4 x3 or 4-7 x2"

    def __post_init__(self) -> None:
        given: Any = self.span
        span = [given] if isinstance(given, int) else list(given)
        first, last = span_numbers(self.kind, span * 2 if len(span) == 1 else span)
        object.__setattr__(self, "span", (first,) if first == last else (first, last))
        object.__setattr__(self, "times", whole("repeat: times", self.times, 2, _MOST_TIMES))

    @property
    def blocks(self) -> tuple[int, ...]:
        """The block, or all positions of the span."""
        return tuple(range(self.span[0], self.span[-1] + 1))

    @property
    def text(self) -> str:
        """The block or the span, and how often it runs."""
        return f"{'-'.join(map(str, self.span))} x{self.times}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read :attr:`text` back."""
        first, *words = text.split() or [""]
        match = SPAN.fullmatch(first)
        if match is None and NUMBER.fullmatch(first) is None:
            raise LesionError(f"blocks {text!r}: repeat expects {cls.example}")
        span = tuple(map(int, match.groups())) if match else (int(first),)
        return cls(span, **read_marks(cls.kind, words, (TIMES,), cls.example))

    def described(self, names: Sequence[str]) -> str:
        """The module, or those of both ends."""
        return "-".join(names[block - 1] for block in self.span)

    def check(self, structure: Structure) -> None:
        """Refuse a block that changes the shape, and a span that leaves its stage."""
        if len(self.span) > 1:
            require_stage(self, structure)
            return
        form = structure.form(self.span[0])
        if not form.keeps_shape:
            raise LesionError(
                f"repeat of {form.label}: it maps {arrow(form)} and so cannot run again after "
                "itself; name blocks that keep the shape"
            )

    def rewrite(self, program: Program) -> Program:
        """Run the block, or what stands in the span, again."""
        if len(self.span) == 1:
            return at_every_block(self, program, self._again)
        first, last = self.span
        inside = tuple(step for steps in program[first - 1 : last] for step in steps)
        if all(isinstance(step, Bypass) for step in inside):
            raise LesionError(f"{self}: nothing is left to run in the span; leave it out")
        longer = (*program[last - 1], *inside * (self.times - 1))
        return (*program[: last - 1], longer, *program[last:])

    def _again(self, step: Alone) -> tuple[Step, ...]:
        if isinstance(step, Bypass):
            raise refused(self, step.block, "it is deleted, so that nothing of it runs again")
        return (step,) * self.times

    @classmethod
    def of_span(cls, first: int, last: int, settings: Mapping[str, Any]) -> Self:
        """The lesion of a block or a span with some settings."""
        return cls((first, last), **settings)


MEMBER = Repeat
