"""Blocks whose branch is replaced by its mean over reference data."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from ensembles.errors import LesionError
from ensembles.lesions.base import Words, setting
from ensembles.lesions.block_set import Variation
from ensembles.lesions.needs import Need, Reference
from ensembles.lesions.steps import Aspect, Recipe
from ensembles.lesions.tokens import leading_numbers, whole

if TYPE_CHECKING:
    from typing_extensions import Self

    from ensembles.decomposition import Block
    from ensembles.engine.materials import Materials

__all__ = ["MeanBranch"]

_SIZE, _SPLIT = 1000, "train"
_REFERENCE = re.compile(r"on ([0-9]{1,18}) of (\S+)", re.ASCII)


@dataclass(frozen=True)
class MeanBranch(Variation):
    """Replace the branch's output by its mean over reference data, position by position.

    Attributes:
        reference_size: How many observations the mean is over.
        reference_split: The part of the data set that they are of.

    >>> MeanBranch((4,)).text
    '4'
    >>> MeanBranch((4,), 256).text
    '4 on 256 of train'
    """

    reference_size: int = setting("Observations that the mean is over.", _SIZE)
    reference_split: str = setting("Part of the data that the mean is over.", _SPLIT)

    kind: ClassVar[str] = "mean"
    summary: ClassVar[str] = "the branch is replaced by its mean over reference data"
    words: ClassVar[Words] = Words(
        "Block replaced by its mean", "Number of blocks replaced by their mean",
        "replaced by their mean",
    )  # fmt: skip
    example: ClassVar[str] = "blocks, and a reference such as 4 on 256 of train"
    needs_shortcut: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        size = whole("mean: reference size", self.reference_size, 1)
        object.__setattr__(self, "reference_size", size)
        split = self.reference_split
        if not isinstance(split, str) or not re.fullmatch(r"\S+", split):
            raise LesionError(f"mean: reference split {split!r}: expected a name such as train")

    @property
    def marks(self) -> tuple[str, ...]:
        """The reference, unless it is the usual one."""
        if (self.reference_size, self.reference_split) == (_SIZE, _SPLIT):
            return ()
        return (f"on {self.reference_size} of {self.reference_split}",)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read :attr:`text` back."""
        blocks, words = leading_numbers(text)
        if not words:
            return cls(blocks)
        match = _REFERENCE.fullmatch(" ".join(words))
        if match is None:
            raise LesionError(f"blocks {' '.join(words)!r}: mean expects {cls.example}")
        return cls(blocks, int(match.group(1)), match.group(2))

    @property
    def reference(self) -> Reference:
        """What the mean is over."""
        return Reference(self.reference_size, self.reference_split)

    @property
    def needs(self) -> tuple[Need, ...]:
        """The reference."""
        return (self.reference,)

    def recipe(self, block: int) -> Recipe:
        """Put the mean in place."""
        return _Mean(self.reference)


@dataclass(frozen=True)
class _Mean(Recipe):
    reference: Reference

    aspect: ClassVar[Aspect] = "constant"
    unclear_after: ClassVar[tuple[Aspect, ...]] = (
        "value", "weights", "whole", "constant", "block",
    )  # fmt: skip

    @property
    def text(self) -> str:
        return f"mean on {self.reference.size} of {self.reference.split}"

    def variant(self, block: Block, materials: Materials) -> Block:
        from ensembles.lesions.branches import ConstantBranch  # noqa: PLC0415 (torch)

        value = materials.means(self.reference)[block.index - 1]
        return block.with_branch(ConstantBranch(value))


MEMBER = MeanBranch
