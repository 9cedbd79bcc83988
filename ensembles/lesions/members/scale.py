"""Blocks whose branch is multiplied by a number."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from ensembles.lesions.base import Words, setting
from ensembles.lesions.block_set import Variation
from ensembles.lesions.occurrences import Alone, is_foreign
from ensembles.lesions.steps import Bypass, Recipe, Step
from ensembles.lesions.tokens import FACTOR, Mark, finite

if TYPE_CHECKING:
    from ensembles.decomposition import Block
    from ensembles.engine.materials import Materials

__all__ = ["Scale"]


@dataclass(frozen=True)
class Scale(Variation):
    """Multiply the branch: ``shortcut + factor * branch`` (He et al. 2016, arXiv 1603.05027).

    Factor 0 is the deletion, 1 the intact network. A gate is multiplied with its branch, so that 0
    closes it.

    Attributes:
        factor: Any finite number.

    >>> Scale((4,), 0.5).text
    '4 x0.5'
    """

    factor: float = setting("What the branch is multiplied by.", 0.5)

    kind: ClassVar[str] = "scale"
    summary: ClassVar[str] = "the branch is multiplied by a factor"
    words: ClassVar[Words] = Words("Scaled block", "Number of scaled blocks", "scaled")
    example: ClassVar[str] = "blocks and a factor such as 4 x0.5"
    forms: ClassVar[Sequence[Mark]] = (Mark("factor", FACTOR, float),)
    needs_shortcut: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "factor", finite("scale: factor", self.factor))

    @property
    def marks(self) -> tuple[str, ...]:
        """The factor."""
        return (f"x{self.factor!r}",)

    def recipe(self, block: int) -> Recipe:
        """Multiply the branch."""
        return _Scaled(self.factor)

    def change(self, step: Alone) -> tuple[Step, ...]:
        """The step with its branch multiplied; nothing is left of it at 0, all of it at 1."""
        (made,) = super().change(step)
        if self.factor == 0 and not is_foreign(step):
            return (Bypass(step.block),)
        return (step if self.factor == 1 else made,)


@dataclass(frozen=True)
class _Scaled(Recipe):
    factor: float

    @property
    def text(self) -> str:
        return f"scale x{self.factor!r}"

    def variant(self, block: Block, materials: Materials) -> Block:
        return block.scaled(self.factor)


MEMBER = Scale
