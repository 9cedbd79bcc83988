"""Where in a program the blocks of a lesion run, and what it makes of them there."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TypeAlias

from ensembles.errors import LesionError
from ensembles.lesions.base import Lesion
from ensembles.lesions.steps import (
    Beside,
    Bypass,
    Program,
    Recipe,
    Run,
    Step,
    Variant,
    Without,
)

__all__ = ["Alone", "at_every_block", "is_foreign", "refused", "with_recipe"]

Alone: TypeAlias = Run | Bypass | Without | Variant
"""A step of one block."""


def at_every_block(
    lesion: Lesion, program: Program, change: Callable[[Alone], tuple[Step, ...]]
) -> Program:
    """Change each step that runs a block of the lesion, wherever in the program that is.

    A block that runs beside others may become one step that takes its place, or lose its branch, so
    that the others are left.

    Args:
        lesion: Names the blocks.
        program: What ran before.
        change: What becomes of a step.

    Raises:
        LesionError: If a block runs nowhere any more, or what becomes of it cannot run beside
            others.
    """
    named, met = frozenset(lesion.blocks), set[int]()

    def alone(step: Alone) -> Iterable[Step]:
        if step.block not in named:
            return (step,)
        met.add(step.block)
        return change(step)

    def changed(step: Step) -> Iterable[Step]:
        return _beside(lesion, step, alone) if isinstance(step, Beside) else alone(step)

    made = tuple(
        tuple([new for step in steps for new in changed(step)])
        if any(isinstance(step, Beside) or step.block in named for step in steps)
        else steps
        for steps in program
    )
    for block in lesion.blocks:
        if block not in met:
            raise refused(lesion, block, "it runs nowhere any more; leave it out")
    return made


def _beside(
    lesion: Lesion, step: Beside, alone: Callable[[Alone], Iterable[Step]]
) -> Iterator[Step]:
    parts: list[Run | Variant] = []
    for part in step.parts:
        made = tuple(alone(part))
        fits = len(made) == 1 and isinstance(made[0], Run | Variant | Bypass)
        if not fits or is_foreign(made[0]):
            raise refused(
                lesion, part.block, "it runs beside others there, which leaves no place for that"
            )
        if step.mean and isinstance(made[0], Bypass):
            raise refused(
                lesion,
                part.block,
                "its branch is averaged with others there, and without it the mean would be of "
                "fewer; let the branches be added instead",
            )
        if isinstance(made[0], Run | Variant):
            parts.append(made[0])
    if len(parts) > 1:
        yield Beside(tuple(parts), step.mean)
    else:
        yield parts[0] if parts else Bypass(step.parts[0].block)


def with_recipe(lesion: Lesion, step: Alone, recipe: Recipe) -> Variant:
    """The step with one more recipe; weights are made before the value of the branch is changed.

    Raises:
        LesionError: If nothing of the block is left to change, or the meaning would not be clear.
    """
    if isinstance(step, Bypass):
        raise refused(lesion, step.block, "it is deleted, so that nothing of it is left to change")
    if isinstance(step, Without):
        raise refused(
            lesion,
            step.block,
            "it has lost some of its branches; lesion it in one way or the other",
        )
    before = step.recipes if isinstance(step, Variant) else ()
    for earlier in before:
        if earlier.aspect in recipe.unclear_after:
            raise refused(
                lesion, step.block,
                f"it comes after {earlier.text}, where its meaning is not clear; put it first, or "
                "leave out one of the two",
            )  # fmt: skip
    if recipe.aspect == "value":
        return Variant(step.block, (*before, recipe))
    values = next((i for i, one in enumerate(before) if one.aspect == "value"), len(before))
    return Variant(step.block, (*before[:values], recipe, *before[values:]))


def is_foreign(step: Step) -> bool:
    """Whether more than the branch is another's, so that the block's own shortcut is gone."""
    return isinstance(step, Variant) and any(recipe.aspect == "block" for recipe in step.recipes)


def refused(lesion: Lesion, block: int, reason: str) -> LesionError:
    """The error for a block with which a lesion can do nothing."""
    return LesionError(f"{lesion.kind} of block {block}: {reason}")
