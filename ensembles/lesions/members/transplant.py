"""Blocks of another network of the same architecture."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from ensembles.errors import LesionError
from ensembles.lesions.base import Words, setting
from ensembles.lesions.block_set import Variation
from ensembles.lesions.needs import Need, Source
from ensembles.lesions.steps import Aspect, Recipe

if TYPE_CHECKING:
    from typing_extensions import Self

    from ensembles.decomposition import Block
    from ensembles.engine.materials import Materials

__all__ = ["Transplant"]

_TEXT = re.compile(r"\s*([0-9]{1,18}(?:\s+[0-9]{1,18})*)\s+from\s+(\S.*?)\s*", re.ASCII | re.DOTALL)


@dataclass(frozen=True)
class Transplant(Variation):
    """Run the whole block of another network of the same architecture in a block's place.

    Shortcut, statistics and what follows the sum come with it.

    Attributes:
        source: Name or file of the other network's checkpoint, or the name under which a program
            passes it.

    >>> Transplant((4,), "resnet110-seed1").text
    '4 from resnet110-seed1'
    """

    source: str = setting("Checkpoint (name or file) that the blocks are taken from.")

    kind: ClassVar[str] = "transplant"
    summary: ClassVar[str] = "the block of another network of the same architecture"
    words: ClassVar[Words] = Words(
        "Transplanted block", "Number of transplanted blocks", "transplanted"
    )
    example: ClassVar[str] = "blocks and a checkpoint such as 4 from NAME"

    def __post_init__(self) -> None:
        super().__post_init__()
        source = self.source
        if isinstance(source, os.PathLike):
            source = os.fspath(source)
        if not isinstance(source, str):
            raise LesionError(
                f"transplant: source {type(source).__name__}; expected a name, and the network "
                "itself as sources={name: network}"
            )
        if not source or source != source.strip() or not source.isprintable():
            raise LesionError(
                f"transplant: source {source!r}; expected a name in one line, without spaces "
                "around it"
            )
        if "then" in source.split():
            raise LesionError(
                f"transplant: source {source!r} holds the word that joins lesions; rename the file"
            )
        object.__setattr__(self, "source", source)

    @property
    def marks(self) -> tuple[str, ...]:
        """Where the blocks come from."""
        return (f"from {self.source}",)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read :attr:`text` back."""
        match = _TEXT.fullmatch(text)
        if match is None:
            raise LesionError(f"blocks {text!r}: transplant expects {cls.example}")
        return cls(tuple(map(int, match.group(1).split())), match.group(2))

    @property
    def needs(self) -> tuple[Need, ...]:
        """The other network."""
        return (Source(self.source),)

    def recipe(self, block: int) -> Recipe:
        """Put the other block in place."""
        return _Transplanted(self.source)


@dataclass(frozen=True)
class _Transplanted(Recipe):
    source: str

    aspect: ClassVar[Aspect] = "block"
    unclear_after: ClassVar[tuple[Aspect, ...]] = (
        "value", "weights", "whole", "constant", "block",
    )  # fmt: skip

    @property
    def text(self) -> str:
        return f"transplant from {self.source}"

    def variant(self, block: Block, materials: Materials) -> Block:
        return materials.other(Source(self.source)).block(block.index)


MEMBER = Transplant
