"""Duplicated blocks: each runs twice in a row."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ensembles.errors import LesionError
from ensembles.lesions.base import Words
from ensembles.lesions.block_set import BlockSet
from ensembles.lesions.occurrences import Alone, refused
from ensembles.lesions.steps import Bypass, Step
from ensembles.lesions.structure import Form, Structure, arrow
from ensembles.lesions.version_1 import DrawnSeed

__all__ = ["Duplicate"]


@dataclass(frozen=True)
class Duplicate(DrawnSeed, BlockSet):
    """Run the block twice in a row (the raw results of Veit et al. 2016 hold these lesions)."""

    kind: ClassVar[str] = "duplicate"
    summary: ClassVar[str] = "the block runs twice in a row"
    words: ClassVar[Words] = Words("Duplicated block", "Number of duplicated blocks", "duplicated")

    def check_block(self, form: Form, structure: Structure) -> None:
        """Refuse a block that changes the shape."""
        if not form.keeps_shape:
            raise LesionError(
                f"duplicate of block {form.index}: it maps {arrow(form)} and so cannot run twice "
                "in a row; name blocks that keep the shape"
            )

    def change(self, step: Alone) -> tuple[Step, ...]:
        """The step, two times."""
        if isinstance(step, Bypass):
            raise refused(self, step.block, "it is deleted, so that nothing of it runs again")
        return step, step


MEMBER = Duplicate
