"""A trained network is taken apart: trace it, find the blocks, verify that they add up."""

from ensembles.decomposition.blocks import Block, BlockKind, Decomposition
from ensembles.decomposition.building import decompose

__all__ = ["Block", "BlockKind", "Decomposition", "decompose"]
