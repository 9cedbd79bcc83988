"""Blocks that are their branch alone."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TypeVar

from torch import nn

from ensembles.decomposition.adapters import Adapter
from ensembles.decomposition.blocks.base import Block, Slot
from ensembles.decomposition.road_set import Roads
from ensembles.decomposition.writer import Writer
from ensembles.errors import LesionError

__all__ = ["Straight"]

Node = TypeVar("Node")


class Straight(Block):
    """A block without a shortcut: a deletion leaves the identity, or the nearest map to its shape.

    Args:
        slot: Where it stands.
        branch: All that it does.
        adapter: What takes its place when it is deleted; None for the identity.
        layers: Weight layers on its longest path.
        roads: The branches that can be dropped one by one.
    """

    def __init__(
        self,
        slot: Slot,
        branch: nn.Module,
        *,
        adapter: Adapter | None = None,
        layers: int = 0,
        roads: Roads | None = None,
    ) -> None:
        super().__init__(slot, branch, adapter=adapter, roads=roads)
        self.weight_layers = layers

    def write(self, writer: Writer[Node], x: Node, beside: Sequence[Node] = ()) -> Node:
        """Write the intact block."""
        return writer.part(self.branch, "branch", x, beside)

    def write_bypass(self, writer: Writer[Node], x: Node, beside: Sequence[Node] = ()) -> Node:
        """Write what takes the block's place; see `Block.write_bypass`."""
        if not self.deletable:
            raise LesionError(
                f"{self.label} cannot be deleted: it turns shape {self.in_shape} into "
                f"{self.out_shape}"
            )
        return writer.part(self.adapter, "adapter", x)

    def write_without(
        self, writer: Writer[Node], x: Node, roads: Collection[int], beside: Sequence[Node] = ()
    ) -> Node:
        """Write the block without some of its branches; see `Block.write_without`."""
        every = self.require_roads(roads)
        total = every.write(writer, "roads", x, roads, beside)
        return writer.part(every.post, "roads.post", total, beside)
