"""Weight layers by themselves."""

from __future__ import annotations

from typing import ClassVar

from ensembles.decomposition.blocks.base import BlockKind
from ensembles.decomposition.blocks.straight import Straight

__all__ = ["Plain"]


class Plain(Straight):
    """A weight layer with the normalisation and non-linearity that follow it, as in VGG."""

    kind: ClassVar[BlockKind] = "plain"
