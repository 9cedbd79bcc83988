"""Blocks of roads that meet, none of which is a shortcut."""

from __future__ import annotations

from typing import ClassVar

from ensembles.decomposition.blocks.base import BlockKind
from ensembles.decomposition.blocks.straight import Straight

__all__ = ["Parallel"]


class Parallel(Straight):
    """Roads that are concatenated or added, as in Inception (Szegedy et al. 2015)."""

    kind: ClassVar[BlockKind] = "parallel"
