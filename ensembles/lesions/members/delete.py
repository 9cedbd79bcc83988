"""Deleted blocks: the branch is gone, the shortcut stays."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ensembles.errors import LesionError
from ensembles.lesions.base import Words
from ensembles.lesions.block_set import BlockSet
from ensembles.lesions.occurrences import Alone, is_foreign, refused
from ensembles.lesions.steps import Bypass, Step
from ensembles.lesions.structure import Form, Structure, arrow
from ensembles.lesions.version_1 import DrawnSeed

__all__ = ["Delete"]


@dataclass(frozen=True)
class Delete(DrawnSeed, BlockSet):
    """Remove the branch and keep the shortcut (Veit et al. 2016, section 4.1).

    A block without a shortcut becomes the identity, or the nearest map without parameters to its
    shape.

    >>> Delete((17, 3)).text
    '3 17'
    """

    kind: ClassVar[str] = "delete"
    summary: ClassVar[str] = "the branch is gone, the shortcut stays"
    words: ClassVar[Words] = Words("Deleted block", "Number of deleted blocks", "deleted")

    def check_block(self, form: Form, structure: Structure) -> None:
        """Refuse a block that nothing without parameters can stand in for."""
        if not form.deletable:
            raise LesionError(
                f"delete of {form.label}: it maps {arrow(form)}, and no map without parameters "
                "does; leave it out"
            )

    def change(self, step: Alone) -> tuple[Step, ...]:
        """The block without its branch."""
        if isinstance(step, Bypass):
            raise refused(self, step.block, "it is deleted already; leave it out")
        if is_foreign(step):
            raise refused(
                self, step.block,
                "it is another network's block, whose shortcut alone cannot be run; delete it "
                "instead of transplanting it",
            )  # fmt: skip
        return (Bypass(step.block),)


MEMBER = Delete
