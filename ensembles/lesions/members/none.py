"""The intact network."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from ensembles.errors import LesionError
from ensembles.lesions.base import Lesion, Words
from ensembles.lesions.steps import Program
from ensembles.lesions.version_1 import DrawnSeed

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["Intact"]


@dataclass(frozen=True)
class Intact(DrawnSeed, Lesion):
    """The network as it is."""

    kind: ClassVar[str] = "none"
    summary: ClassVar[str] = "the intact network"
    words: ClassVar[Words] = Words("Block", "Number of blocks", "left as they are")

    @property
    def text(self) -> str:
        """Nothing."""
        return ""

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read :attr:`text` back."""
        if text.strip():
            raise LesionError(f"blocks '{text.strip()}': none names no blocks")
        return cls()

    @property
    def blocks(self) -> tuple[int, ...]:
        """None."""
        return ()

    @property
    def is_intact(self) -> bool:
        """It is."""
        return True

    def rewrite(self, program: Program) -> Program:
        """Leave it."""
        return program


MEMBER = Intact
