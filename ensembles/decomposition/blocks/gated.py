"""Blocks in which a gate divides between branch and shortcut."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import ClassVar, TypeVar

from torch import Tensor, nn

from ensembles.decomposition.blocks.around import Around
from ensembles.decomposition.blocks.base import Block, BlockKind, Slot
from ensembles.decomposition.blocks.branches import Scaled
from ensembles.decomposition.blocks.joins import Join, Weighted
from ensembles.decomposition.blocks.residual import Residual
from ensembles.decomposition.writer import Writer, Written

__all__ = ["Gated"]

Node = TypeVar("Node")


class Gated(Around):
    """A gate t on branch and shortcut: ``t * branch(x) + (1 - t) * shortcut(x)``.

    Highway networks (Srivastava et al. 2015, equation 3) and exclusive gating (He et al. 2016,
    section 3.1); where the gate is on the shortcut alone, ``branch(x) + (1 - t) * shortcut(x)``. A
    deletion closes the gate, so that all is carried.

    Args:
        slot: Where it stands.
        branch: What is made.
        gate: The gate's value t, from what branch and shortcut share.
        gates_branch: Whether t multiplies what is made.
        pre: What branch and shortcut share at their start.
        shortcut: What leads around the branch.
        post: What follows the sum.
        layers: Weight layers on the longest path through the branch, and on the shortcut.
        aligned: Whether branch and shortcut have one shape.
    """

    kind: ClassVar[BlockKind] = "gated"
    gate: nn.Module

    def __init__(
        self,
        slot: Slot,
        branch: nn.Module,
        *,
        gate: nn.Module,
        gates_branch: bool,
        pre: nn.Module | None = None,
        shortcut: nn.Module | None = None,
        post: nn.Module | None = None,
        layers: tuple[int, int] = (0, 0),
        aligned: bool = False,
    ) -> None:
        super().__init__(
            slot,
            branch,
            pre=pre,
            shortcut=shortcut,
            post=post,
            layers=layers,
            aligned=aligned,
            gate=gate,
        )
        self.gates_branch = gates_branch

    def write_sum(self, writer: Writer[Node], middle: Node, beside: Sequence[Node] = ()) -> Node:
        """Write the sum of both, each through the gate."""
        made = writer.part(self.branch, "branch", middle, beside)
        carried = writer.part(self.shortcut, "shortcut", middle, beside)
        gate = writer.part(self.gate, "gate", middle, beside)
        if self.gates_branch:
            made = writer.call(operator.mul, gate, made)
        closing = writer.call(operator.sub, 1, gate)
        return writer.add(made, writer.call(operator.mul, closing, carried))

    def join(self, middle: Tensor, made: Tensor, carried: Tensor) -> Join:
        """The sum; the gate weighs both."""
        gate: Tensor = self.gate(middle)
        kept = Weighted(1 - gate)
        if not self.gates_branch:
            return Join(made + kept.factor * carried, None, kept)
        return Join(gate * made + kept.factor * carried, Weighted(gate), kept)

    def on_branch(self, x: Tensor) -> Tensor:
        """What the branch adds, through a gate without derivative."""
        out: Tensor = self.branch(x)
        return self._held_gate(x) * out if self.gates_branch else out

    def on_shortcut(self, x: Tensor) -> Tensor:
        """What the shortcut adds, through a gate without derivative."""
        return (1 - self._held_gate(x)) * self.carried(x)

    def _held_gate(self, x: Tensor) -> Tensor:
        out: Tensor = self.gate(x)
        return out.detach()

    def scaled(self, factor: float) -> Block:
        """The block with its gate multiplied, and its branch with it: 0 closes the gate."""
        if factor == 1:
            return self
        branch = self.branch if self.gates_branch else Scaled(self.branch, factor)
        twin = self.with_branch(branch)
        twin.gate = Scaled(self.gate, factor)
        return twin

    def addend(self) -> nn.Module:
        """What the block adds to its input: ``t * (branch(x) - x)``."""
        return _GatedAddend(self.branch, self.gate, self.gates_branch)

    def joint(self, branch: nn.Module) -> Block:
        """A residual block: the gates of several blocks lie within what is added."""
        layers = self.weight_layers, 0
        return Residual(self.slot, branch, post=self.post, layers=layers, aligned=self.aligned)


class _GatedAddend(Written):
    """What a gated block with the identity as its shortcut adds to its input."""

    def __init__(self, branch: nn.Module, gate: nn.Module, gates_branch: bool) -> None:
        super().__init__()
        self.branch, self.gate, self.gates_branch = branch, gate, gates_branch

    def write(self, writer: Writer[Node], name: str, x: Node, beside: Sequence[Node] = ()) -> Node:
        """Write ``t * branch(x) - t * x``, or ``branch(x) - t * x``."""
        made = writer.part(self.branch, f"{name}.branch", x, beside)
        gate = writer.part(self.gate, f"{name}.gate", x, beside)
        if self.gates_branch:
            made = writer.call(operator.mul, gate, made)
        return writer.call(operator.sub, made, writer.call(operator.mul, gate, x))
