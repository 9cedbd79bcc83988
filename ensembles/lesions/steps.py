"""What runs under a lesion: a closed algebra of steps, all that the engines know."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeAlias

if TYPE_CHECKING:  # a lesion knows no torch until its recipe is carried out
    from ensembles.decomposition import Block
    from ensembles.engine.materials import Materials

__all__ = [
    "Beside", "Bypass", "Key", "Program", "Recipe", "Run", "Step", "Variant", "Without",
    "intact_program", "keys_of",
]  # fmt: skip

Key: TypeAlias = tuple[Any, ...]
Aspect: TypeAlias = Literal["value", "weights", "whole", "constant", "block"]


class Recipe(ABC):
    """How another form of a block is made; a frozen value.

    Attributes:
        text: Its whole identity: equal texts make equal variants of a block.
        aspect: What it changes: the "value" of the branch, its "weights", the branch as a "whole",
            its value for a "constant" one, or the "block" with all that belongs to it.
        unclear_after: The aspects after whose change it has no clear meaning.
    """

    aspect: ClassVar[Aspect] = "value"
    unclear_after: ClassVar[tuple[Aspect, ...]] = ()

    @property
    @abstractmethod
    def text(self) -> str:
        """See the class."""

    @abstractmethod
    def variant(self, block: Block, materials: Materials) -> Block:
        """Make the variant: a block that shares nothing that it changes with the one given.

        Args:
            block: The block as it is trained, or as an earlier recipe left it.
            materials: Reference data and other networks, as the lesion's `needs` name them.
        """


@dataclass(frozen=True)
class Run:
    """The block as it is."""

    block: int

    @property
    def key(self) -> Key:
        """Sorts steps; equal for equal ones alone."""
        return ("run", self.block)


@dataclass(frozen=True)
class Bypass:
    """The block without its branch: its shortcut and what follows the sum."""

    block: int

    @property
    def key(self) -> Key:
        """Sorts steps; equal for equal ones alone."""
        return ("bypass", self.block)


@dataclass(frozen=True)
class Without:
    """The block without some of the branches that meet in it, numbered from 1."""

    block: int
    roads: tuple[int, ...]

    @property
    def key(self) -> Key:
        """Sorts steps; equal for equal ones alone."""
        return ("drop", self.block, self.roads)


@dataclass(frozen=True)
class Variant:
    """The block with other weights, or with another value of its branch; recipes in their order."""

    block: int
    recipes: tuple[Recipe, ...]

    @property
    def key(self) -> Key:
        """Sorts steps; equal for equal ones alone."""
        return ("variant", self.block, tuple(recipe.text for recipe in self.recipes))


@dataclass(frozen=True)
class Beside:
    """Blocks that all read the same input; their branches are added, or averaged."""

    parts: tuple[Run | Variant, ...]
    mean: bool = False

    @property
    def key(self) -> Key:
        """Sorts steps; equal for equal ones alone."""
        return ("beside", self.mean, tuple(part.key for part in self.parts))


Step: TypeAlias = Run | Bypass | Without | Variant | Beside

Program: TypeAlias = tuple[tuple[Step, ...], ...]
"""What runs at each of a network's n positions, in order: one step mostly, none, or several.

What a network does between two blocks and is never lesioned stays before its position.
"""


@lru_cache(maxsize=64)
def intact_program(n: int) -> Program:
    """The program of a network without a lesion.

    >>> intact_program(2)
    ((Run(block=1),), (Run(block=2),))
    """
    return tuple((Run(block),) for block in range(1, n + 1))


def keys_of(program: Program) -> tuple[Key, ...]:
    """Sorts programs: those that begin alike stand beside each other."""
    return tuple(tuple(step.key for step in steps) for steps in program)
