"""Residual blocks."""

from __future__ import annotations

from typing import ClassVar

from ensembles.decomposition.blocks.around import Around
from ensembles.decomposition.blocks.base import BlockKind

__all__ = ["Residual"]


class Residual(Around):
    """A branch that is added to its shortcut (He et al. 2015, 2016)."""

    kind: ClassVar[BlockKind] = "residual"
