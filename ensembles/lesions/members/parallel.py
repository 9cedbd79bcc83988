"""Neighbouring blocks that all read the same input."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from ensembles.errors import LesionError
from ensembles.lesions.base import Words, setting
from ensembles.lesions.block_span import Spanning, require_stage
from ensembles.lesions.occurrences import is_foreign, refused
from ensembles.lesions.steps import Beside, Program, Run, Step, Variant
from ensembles.lesions.structure import Structure
from ensembles.lesions.tokens import (
    SPAN,
    TIMES,
    Mark,
    block_numbers,
    leading_numbers,
    read_marks,
    whole,
)

if TYPE_CHECKING:
    from typing_extensions import Self


__all__ = ["Parallel"]


@dataclass(frozen=True)
class Parallel(Spanning):
    """Run blocks side by side: their input and the sum, or the mean, of their branches.

    What follows the sum is applied once (Sun et al. 2024, "Transformer Layers as Painters",
    2407.09298, sections 3.4 and 3.7). One block by itself runs as it is.

    Attributes:
        blocks: All positions of a span, in order.
        mean: Whether the branches are averaged instead of added.
        loops: How often the blocks run side by side, one time after the other.

    Raises:
        LesionError: If the blocks are no neighbours.

    >>> Parallel((7, 8)).text, Parallel((10, 11, 12), mean=True, loops=3).text
    ('7 8', '10-12 mean x3')
    """

    blocks: tuple[int, ...]
    mean: bool = setting("Average the branches instead of adding them.", False)
    loops: int = setting("How often the blocks run side by side.", 1)

    kind: ClassVar[str] = "parallel"
    summary: ClassVar[str] = "neighbouring blocks all read the same input"
    words: ClassVar[Words] = Words(
        "Blocks side by side", "Number of blocks side by side", "run side by side"
    )
    usual: ClassVar[int] = 2
    example: ClassVar[str] = "neighbours such as 7 8, or a span such as 10-20 mean x3"
    forms: ClassVar[Sequence[Mark]] = (
        Mark("mean", re.compile("(mean)"), bool),
        TIMES._replace(setting="loops"),
    )

    def __post_init__(self) -> None:
        blocks = block_numbers(self.kind, self.blocks)
        if len(blocks) != blocks[-1] - blocks[0] + 1:
            raise LesionError(
                f"parallel of {' '.join(map(str, blocks))}: expected neighbours; name all blocks "
                "of a span"
            )
        object.__setattr__(self, "blocks", blocks)
        if not isinstance(self.mean, bool):
            raise LesionError(f"parallel: mean {self.mean!r}; expected True or False")
        object.__setattr__(self, "loops", whole("parallel: loops", self.loops, 1))

    @property
    def text(self) -> str:
        """The blocks, or both ends of a longer span, and the settings."""
        first, last = self.blocks[0], self.blocks[-1]
        named = f"{first}-{last}" if last > first + 1 else " ".join(map(str, self.blocks))
        looped = f" x{self.loops}" if self.loops > 1 else ""
        return f"{named}{' mean' * self.mean}{looped}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read :attr:`text` back."""
        blocks, words = leading_numbers(text)
        match = SPAN.fullmatch(words[0]) if words and not blocks else None
        if match is not None:
            blocks, words = _between(*map(int, match.groups())), words[1:]
        return cls(blocks, **read_marks(cls.kind, words, cls.forms, cls.example))

    def described(self, names: Sequence[str]) -> str:
        """The modules of both ends."""
        ends = dict.fromkeys((self.blocks[0], self.blocks[-1]))
        return "-".join(names[block - 1] for block in ends)

    def check(self, structure: Structure) -> None:
        """Refuse blocks without a shortcut, of several kinds, or with weights after the sum."""
        require_stage(self, structure)
        forms = [structure.form(block) for block in self.blocks]
        for form in forms:
            if not form.shortcut:
                raise LesionError(
                    f"{self}: {form.label} has no shortcut, so that its branch cannot be added to "
                    "others; choose blocks with a shortcut"
                )
            if form.kind != forms[0].kind:
                raise LesionError(
                    f"{self}: {forms[0].label} is {forms[0].kind}, {form.label} {form.kind}; "
                    "choose blocks of one kind"
                )
            if form.closed and len(forms) > 1:
                raise LesionError(
                    f"{self}: weights follow the sum in {form.label} (a norm after the addition), "
                    "and blocks side by side have one sum; it has no meaning here"
                )

    def rewrite(self, program: Program) -> Program:
        """Put what stands at the positions side by side, at the first of them."""
        first, last = self.blocks[0], self.blocks[-1]
        parts = tuple(
            self._part(position, program[position - 1]) for position in range(first, last + 1)
        )
        step = Beside(parts, self.mean) if len(parts) > 1 else parts[0]
        empty = ((),) * (last - first)
        return (*program[: first - 1], (step,) * self.loops, *empty, *program[last:])

    def _part(self, position: int, steps: tuple[Step, ...]) -> Run | Variant:
        if len(steps) == 1 and isinstance(steps[0], Run | Variant) and not is_foreign(steps[0]):
            return steps[0]
        raise refused(
            self, position,
            "a block with its own branch is expected there, alone and whole, and an earlier lesion "
            "left something else; put blocks side by side first",
        )  # fmt: skip

    @classmethod
    def of_span(cls, first: int, last: int, settings: Mapping[str, Any]) -> Self:
        """The lesion of a span with some settings."""
        return cls(_between(first, last), **settings)


def _between(first: int, last: int) -> tuple[int, ...]:
    if last < first:
        raise LesionError(f"parallel of {first}-{last}: the span ends before it begins")
    return tuple(range(first, last + 1))


MEMBER = Parallel
