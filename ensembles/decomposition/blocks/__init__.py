"""The kinds of block, a class for each."""

from ensembles.decomposition.blocks.around import Around
from ensembles.decomposition.blocks.base import Block, BlockKind, Slot
from ensembles.decomposition.blocks.dense import Dense
from ensembles.decomposition.blocks.fractal import Fractal
from ensembles.decomposition.blocks.gated import Gated
from ensembles.decomposition.blocks.member import Member
from ensembles.decomposition.blocks.parallel import Parallel
from ensembles.decomposition.blocks.plain import Plain
from ensembles.decomposition.blocks.residual import Residual
from ensembles.decomposition.blocks.straight import Straight
from ensembles.decomposition.blocks.two_stream import TwoStream

__all__ = [
    "KINDS", "Around", "Block", "BlockKind", "Dense", "Fractal", "Gated", "Member", "Parallel",
    "Plain", "Residual", "Slot", "Straight", "TwoStream",
]  # fmt: skip

KINDS: dict[BlockKind, type[Block]] = {
    cls.kind: cls for cls in (Residual, Gated, TwoStream, Dense, Parallel, Fractal, Plain, Member)
}
"""The class of each kind, in the order in which they are listed."""
