"""A trained network is taken apart: trace it, find the blocks, verify that they add up."""

from ensembles.decomposition.assembly import decompose
from ensembles.decomposition.blocks import Block, BlockKind
from ensembles.decomposition.network import Decomposition
from ensembles.decomposition.walk import walk

__all__ = ["Block", "BlockKind", "Decomposition", "decompose", "walk"]
