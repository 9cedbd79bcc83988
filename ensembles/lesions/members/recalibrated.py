"""Lesions whose BatchNorm statistics are measured anew before they count."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, NamedTuple

from ensembles.errors import LesionError
from ensembles.lesions.base import Lesion, Words
from ensembles.lesions.kinds import JOINT, parse_sentence
from ensembles.lesions.needs import Need, Reference
from ensembles.lesions.steps import Program
from ensembles.lesions.structure import Structure
from ensembles.lesions.tokens import whole

if TYPE_CHECKING:
    from typing_extensions import Self

    from ensembles.lesions.choice import Choice

__all__ = ["Recalibrated", "Recalibration"]

_TEXT = re.compile(r"\s*(\S.*?)\s*\|\s*([0-9]{1,18})x([0-9]{1,18})\s*", re.ASCII | re.DOTALL)


class Recalibration(NamedTuple):
    """How BatchNorm statistics are measured anew.

    Attributes:
        batches: How many batches of the reference data, the training split by default.
        batch_size: Observations in each.
    """

    batches: int
    batch_size: int


@dataclass(frozen=True)
class Recalibrated(Lesion):
    """A lesion, with BatchNorm statistics measured anew under it before anything counts.

    They are the cumulative average over the batches, with BatchNorm alone in training mode. In a
    network without BatchNorm nothing changes.

    Attributes:
        lesion: What is done to the blocks.
        batches: Batches of the reference data.
        batch_size: Observations in each.

    Raises:
        LesionError: If the lesion is recalibrated already, or a number is below 1.

    >>> from ensembles.lesions import Delete
    >>> str(Delete((3,)).recalibrated())
    'recalibrated delete 3 | 8x128'
    """

    lesion: Lesion
    batches: int = 8
    batch_size: int = 128

    kind: ClassVar[str] = "recalibrated"
    summary: ClassVar[str] = "any lesion, with BatchNorm statistics measured anew under it"
    words: ClassVar[Words] = Words(
        "Lesioned block, BatchNorm recalibrated",
        "Number of lesioned blocks, BatchNorm recalibrated",
        "lesioned and recalibrated",
    )

    def __post_init__(self) -> None:
        if not isinstance(self.lesion, Lesion):
            raise LesionError(f"recalibrated: {self.lesion!r}; expected a lesion")
        if self.lesion.recalibration is not None:
            raise LesionError(
                f"recalibrated: {self.lesion} is recalibrated already; once is enough"
            )
        if JOINT.search(f"{self.lesion} ") and self.lesion.kind != "then":
            raise LesionError(
                f"recalibrated: {self.lesion} holds the word that joins lesions; use another name"
            )
        if self.draw is None:
            object.__setattr__(self, "draw", self.lesion.draw)
        object.__setattr__(self, "lesion", self.lesion.bare())
        object.__setattr__(self, "batches", whole("recalibrated: batches", self.batches, 1))
        size = whole("recalibrated: batch size", self.batch_size, 1)
        object.__setattr__(self, "batch_size", size)

    @property
    def text(self) -> str:
        """The lesion with its kind, and how many batches of which size."""
        return f"{self.lesion} | {self.batches}x{self.batch_size}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read :attr:`text` back."""
        match = _TEXT.fullmatch(text)
        if match is None:
            raise LesionError(
                f"blocks {text!r}: recalibrated expects a lesion, batches and their size, such as "
                "delete 3 | 8x128"
            )
        inner, batches, size = match.groups()
        return cls(parse_sentence(inner), int(batches), int(size))

    @property
    def blocks(self) -> tuple[int, ...]:
        """Those of the lesion."""
        return self.lesion.blocks

    @property
    def count(self) -> int:
        """That of the lesion."""
        return self.lesion.count

    def described(self, names: Sequence[str]) -> str:
        """The modules of the lesion."""
        return self.lesion.described(names)

    @property
    def recalibration(self) -> Recalibration:
        """How the statistics are measured."""
        return Recalibration(self.batches, self.batch_size)

    @property
    def needs(self) -> tuple[Need, ...]:
        """What the lesion needs, and reference data."""
        reference = Reference(self.batches * self.batch_size)
        return tuple(dict.fromkeys((*self.lesion.needs, reference)))

    def needs_on(self, structure: Structure) -> tuple[Need, ...]:
        """The same; without BatchNorm, what the lesion needs, as nothing is measured then."""
        return self.needs if structure.batch_norms else self.lesion.needs_on(structure)

    def check(self, structure: Structure) -> None:
        """Hold the lesion against the network."""
        self.lesion.check(structure)

    @classmethod
    def sweep(cls, structure: Structure, choice: Choice) -> list[Lesion]:
        """Refused: any other kind is swept, and recalibrated."""
        raise LesionError(
            "recalibrated is no kind to sweep by itself; choose another kind, and with it how many "
            "batches to recalibrate on"
        )

    def rewrite(self, program: Program) -> Program:
        """What the lesion makes of it."""
        return self.lesion.rewrite(program)


MEMBER = Recalibrated
