"""Lesions one after the other, each of what the one before left."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from ensembles.errors import LesionError
from ensembles.lesions.base import Lesion, Words
from ensembles.lesions.kinds import JOINT, parse_sentence
from ensembles.lesions.members.none import Intact
from ensembles.lesions.needs import Need
from ensembles.lesions.steps import Program, intact_program
from ensembles.lesions.structure import Structure

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["Then", "chain"]


@dataclass(frozen=True)
class Then(Lesion):
    """Two lesions or more, each of the program that the one before left.

    Kinds that name blocks mean these wherever they run by then; those that name positions or a span
    mean what stands there by then.

    Attributes:
        parts: The lesions in their order. Chains among them are taken apart, the intact network is
            left out.

    Raises:
        LesionError: If fewer than two lesions are left, or one of them is recalibrated.

    >>> from ensembles.lesions import Delete, Scale
    >>> Delete((3,)).then(Scale((5,), 0.5)).text
    'delete 3 then scale 5 x0.5'
    """

    parts: tuple[Lesion, ...]

    kind: ClassVar[str] = "then"
    summary: ClassVar[str] = "several lesions, one after the other"
    words: ClassVar[Words] = Words(
        "Block of several lesions", "Number of blocks of several lesions", "lesioned several times"
    )

    def __post_init__(self) -> None:
        parts = tuple(_flat(self.parts))
        if len(parts) < 2:
            raise LesionError("lesion 'then' needs two lesions or more, one after the other")
        if self.draw is None:
            draws = [part.draw for part in self.parts if part.draw is not None]
            object.__setattr__(self, "draw", draws[0] if draws else None)
        object.__setattr__(self, "parts", tuple(part.bare() for part in parts))

    def __str__(self) -> str:
        return self.text

    @property
    def text(self) -> str:
        """The lesions with their kinds, joined by ``then``."""
        return " then ".join(map(str, self.parts))

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read :attr:`text` back."""
        return cls(tuple(parse_sentence(part) for part in JOINT.split(text.strip())))

    @property
    def blocks(self) -> tuple[int, ...]:
        """The blocks that any of the lesions names, each once."""
        return tuple(sorted({block for part in self.parts for block in part.blocks}))

    @property
    def count(self) -> int:
        """The counts of all lesions together."""
        return sum(part.count for part in self.parts)

    def described(self, names: Sequence[str]) -> str:
        """The modules of each lesion."""
        return " then ".join(part.described(names) for part in self.parts)

    @property
    def needs(self) -> tuple[Need, ...]:
        """What any of the lesions needs, each thing once."""
        return tuple(dict.fromkeys(need for part in self.parts for need in part.needs))

    def check(self, structure: Structure) -> None:
        """Hold each lesion against the network."""
        for part in self.parts:
            part.check(structure)

    def rewrite(self, program: Program) -> Program:
        """Let each lesion rewrite what the one before left.

        Raises:
            LesionError: If one of them changes nothing any more.
        """
        intact = intact_program(len(program))
        for part in self.parts:
            before, program = program, part.rewrite(program)
            if program == before and part.rewrite(intact) != intact:
                raise LesionError(
                    f"{self}: {part} changes nothing of what the lesions before it left; leave it "
                    "out"
                )
        return program


def chain(lesions: Iterable[Lesion]) -> Lesion:
    """Lesions one after the other: a chain, the only one that is left, or the intact network."""
    parts = list(_flat(lesions))
    if len(parts) > 1:
        return Then(tuple(parts))
    return parts[0] if parts else Intact()


def _flat(lesions: Iterable[Lesion]) -> Iterable[Lesion]:
    """The lesions of a chain, those of inner chains too, without the intact network."""
    for lesion in lesions:
        if not isinstance(lesion, Lesion):
            raise LesionError(f"then: {lesion!r}; expected lesions")
        if lesion.recalibration is not None:
            raise LesionError(
                f"then: {lesion} is recalibrated; recalibrate the chain as a whole, as in "
                "a.then(b).recalibrated()"
            )
        if isinstance(lesion, Then):
            yield from lesion.parts
        elif JOINT.search(f"{lesion} "):
            raise LesionError(f"then: {lesion} holds the word that joins lesions; use another name")
        elif not isinstance(lesion, Intact):
            yield lesion


MEMBER = Then
