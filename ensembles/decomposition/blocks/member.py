"""Members of an average of networks."""

from __future__ import annotations

from typing import ClassVar

from ensembles.decomposition.blocks.base import BlockKind
from ensembles.decomposition.blocks.straight import Straight

__all__ = ["Member"]


class Member(Straight):
    """A network whose answer is averaged with others'; it adds to a state that all pass on.

    See :mod:`ensembles.decomposition.members`. The order of members means nothing.
    """

    kind: ClassVar[BlockKind] = "member"
    ordered: ClassVar[bool] = False
