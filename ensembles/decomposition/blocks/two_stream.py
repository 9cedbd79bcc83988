"""Blocks whose shortcut carries only some of the channels."""

from __future__ import annotations

from typing import ClassVar

from ensembles.decomposition.blocks.around import Around
from ensembles.decomposition.blocks.base import BlockKind

__all__ = ["TwoStream"]


class TwoStream(Around):
    """A branch that is added to a shortcut of some channels; the others have none.

    As in ResNet in ResNet (Targ et al. 2016): what the shortcut does not carry, only the branch
    gives.
    """

    kind: ClassVar[BlockKind] = "two-stream"

    @property
    def is_transition(self) -> bool:
        """Whether the shortcut is not the identity of its stream: whether the shape changes."""
        return self.pre is not None or self.in_shape != self.out_shape
