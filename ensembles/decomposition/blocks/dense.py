"""Blocks whose branch is concatenated with their input."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, TypeVar

import torch
from torch import Tensor, nn

from ensembles.decomposition.blocks.around import Around
from ensembles.decomposition.blocks.base import Block, BlockKind, Slot
from ensembles.decomposition.blocks.joins import Among, Join
from ensembles.decomposition.writer import Writer
from ensembles.errors import LesionError

__all__ = ["Dense"]

Node = TypeVar("Node")


class Dense(Around):
    """A branch whose channels stand behind those of the block's input (Huang et al. 2017).

    The shortcut is the identity; a deletion leaves zeros in place of the new channels.

    Args:
        slot: Where it stands.
        branch: What makes the new channels.
        width: Channels of the concatenation.
        pre: What input and branch share at their start.
        post: What follows the concatenation.
        layers: Weight layers on the longest path through the branch.
        aligned: Whether all that is added has one shape.
    """

    kind: ClassVar[BlockKind] = "dense"

    def __init__(
        self,
        slot: Slot,
        branch: nn.Module,
        *,
        width: int,
        pre: nn.Module | None = None,
        post: nn.Module | None = None,
        layers: int = 0,
        aligned: bool = False,
    ) -> None:
        super().__init__(slot, branch, pre=pre, post=post, layers=(layers, 0), aligned=aligned)
        self.width = width

    def write_sum(self, writer: Writer[Node], middle: Node, beside: Sequence[Node] = ()) -> Node:
        """Write the concatenation."""
        made = writer.part(self.branch, "branch", middle, beside)
        return writer.call(torch.cat, [middle, made], 1)

    def write_kept(self, writer: Writer[Node], middle: Node, beside: Sequence[Node] = ()) -> Node:
        """Write the input with zeros behind it."""
        return writer.call(widened, middle, self.width)

    def join(self, middle: Tensor, made: Tensor, carried: Tensor) -> Join:
        """The concatenation; each branch has its channels."""
        old, new = carried.shape[1], made.shape[1]
        return Join(torch.cat([carried, made], 1), Among(old, 0), Among(0, new))

    def on_shortcut(self, x: Tensor) -> Tensor:
        """The input, with zeros in place of the new channels."""
        return widened(x, self.width)

    def on_branch(self, x: Tensor) -> Tensor:
        """The new channels, behind zeros in place of the input's."""
        out: Tensor = self.branch(x)
        return torch.cat([x.new_zeros(len(x), x.shape[1], *out.shape[2:]), out], 1)

    def beside(self, others: Sequence[Block], mean: bool = False) -> Block:
        """Refused, unless alone: what dense blocks make stands in channels of its own."""
        if not others:
            return self
        raise LesionError(
            f"{self.label} is dense: it adds channels of its own instead of a value to its input, "
            "so that blocks beside it cannot be added; choose residual blocks"
        )


def widened(x: Tensor, width: int) -> Tensor:
    """Images with channels of zeros behind their own, up to a width."""
    return torch.cat([x, x.new_zeros(len(x), width - x.shape[1], *x.shape[2:])], 1)
