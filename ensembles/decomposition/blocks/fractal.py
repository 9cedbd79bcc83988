"""Blocks of branches that are averaged."""

from __future__ import annotations

from typing import ClassVar

from ensembles.decomposition.blocks.base import BlockKind
from ensembles.decomposition.blocks.straight import Straight

__all__ = ["Fractal"]


class Fractal(Straight):
    """A mean of branches, as in a join of FractalNet (Larsson et al. 2016)."""

    kind: ClassVar[BlockKind] = "fractal"
