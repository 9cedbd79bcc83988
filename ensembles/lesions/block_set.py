"""What kinds share that name a set of blocks, wherever in the program these run."""

from __future__ import annotations

import re
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import cache, cached_property
from operator import lt
from typing import TYPE_CHECKING, ClassVar

from ensembles.errors import LesionError
from ensembles.lesions.base import Lesion
from ensembles.lesions.draws import random_sets
from ensembles.lesions.occurrences import Alone, at_every_block, with_recipe
from ensembles.lesions.steps import Program, Recipe, Run, Step
from ensembles.lesions.structure import Form, Structure
from ensembles.lesions.tokens import Mark, block_numbers, leading_numbers, read_marks

if TYPE_CHECKING:
    from typing_extensions import Self

    from ensembles.lesions.choice import Choice

__all__ = ["BlockSet", "Variation"]


_WRITTEN = re.compile(r"[1-9][0-9]{0,17}(?: [1-9][0-9]{0,17})*", re.ASCII)
"""Blocks alone, as `BlockSet.text` writes them where they are sorted."""


@cache
def _is_blocks_alone(kind: type[BlockSet]) -> bool:
    """Whether nothing but its blocks, which `BlockSet` checks, makes a lesion of a kind."""
    checks, named = vars(BlockSet)["__post_init__"], {one.name for one in fields(kind)}
    return named == {"draw", "blocks"} and kind.__post_init__ is checks


@dataclass(frozen=True)
class BlockSet(Lesion):
    """A lesion of some blocks, each by itself.

    A kind says what becomes of a step (`change`) and which blocks it has no meaning for
    (`check_block`). Settings are further fields, made by `setting`; where a kind has some, `marks`
    writes them and `forms` reads them.

    Attributes:
        blocks: Their numbers, from 1; kept sorted.
        example: What a text of the kind looks like, for messages.
        forms: The words of a text that stand for settings, in their order.

    Raises:
        LesionError: No blocks, a block below 1 or named twice.
    """

    blocks: tuple[int, ...]

    example: ClassVar[str] = "block numbers such as 3 17"
    forms: ClassVar[Sequence[Mark]] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "blocks", block_numbers(self.kind, self.blocks))

    @property
    def marks(self) -> tuple[str, ...]:
        """The words of the text that stand for settings."""
        return ()

    @cached_property
    def text(self) -> str:  # a table asks for it again and again
        """The blocks and the settings, such as ``"3 17"`` or ``"4 x0.5"``."""
        return " ".join([*map(str, self.blocks), *self.marks])

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read :attr:`text` back."""
        if _WRITTEN.fullmatch(text) and _is_blocks_alone(cls):  # nearly all of a large table
            written = tuple(map(int, text.split(" ")))
            if all(map(lt, written, written[1:])):
                found: Self = object.__new__(cls)
                found.__dict__.update(draw=None, blocks=written, text=text)
                return found
        blocks, words = leading_numbers(text)
        return cls(blocks, **read_marks(cls.kind, words, cls.forms, cls.example))

    def check(self, structure: Structure) -> None:
        """Refuse blocks that the kind has no meaning for."""
        for block in self.blocks:
            self.check_block(structure.form(block), structure)

    def check_block(self, form: Form, structure: Structure) -> None:
        """Refuse a block that the kind has no meaning for.

        Raises:
            LesionError: Naming the block, what was found, and what to do.
        """

    def rewrite(self, program: Program) -> Program:
        """Change every step that runs one of the blocks."""
        return at_every_block(self, program, self.change)

    def order(self, n: int) -> tuple[int, ...] | None:
        """See the base class; read off its own blocks, as a table asks it of every lesion."""
        if self.blocks[-1] > n:
            return super().order(n)
        for block in self.blocks:
            step = Run(block)
            if self.change(step) != (step,):
                return None
        return tuple(range(1, n + 1))

    @abstractmethod
    def change(self, step: Alone) -> tuple[Step, ...]:
        """What becomes of a step that runs one of the blocks.

        Raises:
            LesionError: If the kind has no meaning for what an earlier lesion left of the block.
        """

    @classmethod
    def made(
        cls, blocks: Sequence[int], structure: Structure, choice: Choice, trial: int | None = None
    ) -> Self:
        """The lesion of some blocks with the settings of a choice, in a trial."""
        lesion = cls(tuple(blocks), **choice.settings_of(cls, trial))
        return lesion if trial is None else lesion.drawn(trial, choice.seed)

    @classmethod
    def sweep(cls, structure: Structure, choice: Choice) -> list[Lesion]:
        """Each block by itself, or random sets of blocks; see `Lesion.sweep`."""
        pool = choice.fitting(
            structure, choice.chosen(structure), lambda b: cls.made((b,), structure, choice)
        )
        if choice.sizes == (1,) and (choice.trials is None or choice.seeds_trials(cls)):
            return [
                cls.made((block,), structure, choice, trial)
                for block in pool
                for trial in choice.each_trial
            ]
        return [
            cls.made(blocks, structure, choice, draw.trial)
            for draw, blocks in random_sets(
                cls.kind, len(structure), pool, choice.sizes, choice.draws, choice.seed
            )
        ]

    @classmethod
    def is_random(cls, choice: Choice) -> bool:
        """Whether what a choice makes depends on its seed."""
        return choice.several or choice.seeds(cls)


@dataclass(frozen=True)
class Variation(BlockSet):
    """A lesion of some blocks, each of which runs with other weights or another branch value."""

    needs_shortcut: ClassVar[bool] = False
    needs_weights: ClassVar[bool] = False

    def check_block(self, form: Form, structure: Structure) -> None:
        """Refuse a block without a shortcut or without weights, where the kind needs them."""
        if self.needs_shortcut and not form.shortcut:
            raise LesionError(
                f"{self.kind} of {form.label}: it has no shortcut, so that its branch is all that "
                "there is; choose blocks with a shortcut"
            )
        if self.needs_weights and not form.weights:
            raise LesionError(
                f"{self.kind} of {form.label}: its branch has no weights; choose other blocks"
            )

    @abstractmethod
    def recipe(self, block: int) -> Recipe:
        """How the variant of one of the blocks is made."""

    def change(self, step: Alone) -> tuple[Step, ...]:
        """The step with this lesion's recipe."""
        return (with_recipe(self, step, self.recipe(step.block)),)
