"""What every block is, whatever its kind."""

from __future__ import annotations

import copy
from abc import abstractmethod
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeVar

from torch import Tensor, nn

from ensembles.decomposition.adapters import Adapter
from ensembles.decomposition.layouts import PLAIN, Layout
from ensembles.decomposition.road_set import Roads
from ensembles.decomposition.writer import RUN, Bound, Writer
from ensembles.errors import LesionError

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["Block", "BlockKind", "Slot"]

BlockKind = Literal[
    "residual", "gated", "two-stream", "dense", "parallel", "fractal", "plain", "member"
]
Node = TypeVar("Node")


@dataclass(frozen=True)
class Slot:
    """Where in a network a block stands.

    Attributes:
        index: The block's number, from 1.
        name: The module that it comes from.
        in_shape: Shape of its input, without the batch.
        out_shape: Shape of its output, without the batch.
        before: What stands between the previous block and this one; None for nothing.
        reads: Names of what it reads beside its input, such as a mask.
        holds: Numbers of the blocks that lie within its branch.
        after: Where in what it gives the images are; of a block in a chain its parts know that.
    """

    index: int
    name: str
    in_shape: tuple[int, ...]
    out_shape: tuple[int, ...]
    before: nn.Module | None = None
    reads: tuple[str, ...] = ()
    holds: tuple[int, ...] = ()
    after: Layout = PLAIN


class Block(nn.Module):
    """A part of a network that can be lesioned; each kind is a class.

    A kind writes what it computes (:meth:`write`), what is left of it without its branch
    (:meth:`write_bypass`) and without some of the branches that meet in it (:meth:`write_without`).
    Running a block is reading that; see :mod:`ensembles.decomposition.writer`.

    Attributes:
        kind: "residual", "gated", "two-stream", "dense", "parallel", "fractal", "plain", "member".
        has_shortcut: Whether a shortcut around the branch exists, so that paths are defined.
        ordered: Whether its place among the blocks means anything.
        index: The block's number, from 1.
        name: The module that it comes from.
        in_shape: Shape of the block's input, without the batch.
        out_shape: Shape of its output, without the batch.
        before: What stands between the previous block and this one and is never lesioned.
        pre: What branch and shortcut share at their start (BN and ReLU of a pre-activation
            transition).
        branch: What a deletion removes.
        shortcut: What leads around the branch. It, `before`, `pre` and `post` are None where they
            are the identity.
        post: What follows where branch and shortcut meet.
        adapter: What takes the block's place when it is deleted; blocks with a shortcut keep that
            instead.
        gate: The gate's value, from what branch and shortcut share; gated blocks only.
        gates_branch: Whether the gate multiplies the branch too, not the shortcut alone.
        roads: The branches that can be dropped one by one; None where there is only one.
        weight_layers: Weight layers on the longest path through the branch.
        shortcut_layers: Weight layers on the shortcut.
        aligned: Whether branch and shortcut have one shape, so that neither is broadcast.
        width: Channels of the concatenation; dense blocks only.
        step: Which use of its weights this block is, from 1: weights that several blocks share
            are used at several time steps.
        steps: How many blocks use these weights.
        reads: Names of what it reads beside its input: a mask that all layers read, what a block
            within its branch left. Each of its parts takes these behind its input.
        holds: Numbers of the blocks that lie within its branch; they have run before it.
        after: Where in what it gives the images are, if it is no block of a chain.
    """

    kind: ClassVar[BlockKind]
    has_shortcut: ClassVar[bool] = False
    ordered: ClassVar[bool] = True

    before: nn.Module | None
    pre: nn.Module | None
    branch: nn.Module
    shortcut: nn.Module | None
    post: nn.Module | None
    adapter: Adapter | None
    gate: nn.Module | None
    roads: Roads | None

    def __init__(self, slot: Slot, branch: nn.Module, **parts: nn.Module | None) -> None:
        super().__init__()
        self.index, self.name = slot.index, slot.name
        self.in_shape, self.out_shape = slot.in_shape, slot.out_shape
        self.weight_layers, self.shortcut_layers = 0, 0
        self.before, self.pre, self.branch = slot.before, parts.get("pre"), branch
        self.shortcut, self.post = parts.get("shortcut"), parts.get("post")
        adapter, roads = parts.get("adapter"), parts.get("roads")
        assert adapter is None or isinstance(adapter, Adapter)
        assert roads is None or isinstance(roads, Roads)
        self.adapter = adapter
        self.aligned, self.width = False, 0
        self.gate, self.gates_branch = parts.get("gate"), False
        self.roads = roads
        self.step, self.steps = 1, 1
        self.reads, self.holds, self.after = slot.reads, slot.holds, slot.after

    @property
    def slot(self) -> Slot:
        """Where in the network the block stands."""
        shapes = self.in_shape, self.out_shape
        names, inner = self.reads, self.holds
        return Slot(self.index, self.name, *shapes, self.before, names, inner, self.after)

    @property
    def label(self) -> str:
        """The block in a message."""
        return f"block {self.index} ({self.name})"

    @property
    def is_transition(self) -> bool:
        """Whether the shortcut is not the identity; without one, whether the shape changes."""
        return self.in_shape != self.out_shape

    @property
    def has_passage(self) -> bool:
        """Whether something that is no block stands before it, or it reads another's output."""
        return self.before is not None and not getattr(self.before, "is_idle", False)

    @property
    def is_closed(self) -> bool:
        """Whether weights follow where the branches meet, such as a norm after the addition."""
        if not self.has_shortcut or self.post is None:
            return False
        return any(True for _ in (*self.post.parameters(), *self.post.buffers()))

    @property
    def road(self) -> str:
        """What the shortcut is.

        "none", "identity", "fixed" (no parameters: subsampled, padded), "scaled" (parameters but no
        weight layer) or "projection"; "identity*" and so on where branch and shortcut begin after
        `pre`.
        """
        return "none"

    @property
    def parameter_count(self) -> int:
        """Parameters of the block, those of what stands before it left out."""
        parts = (self.pre, self.branch, self.gate, self.shortcut, self.post)
        weights = {id(w): w for part in parts if part is not None for w in part.parameters()}
        return sum(weight.numel() for weight in weights.values())

    @property
    def deletable(self) -> bool:
        """Whether something without parameters leads from the input shape to the output shape."""
        same = self.in_shape == self.out_shape
        return self.has_shortcut or same or self.adapter is not None

    @property
    def adaptation(self) -> str:
        """How a deletion changes the shape ("" where it does not have to)."""
        return self.adapter.text if self.adapter is not None else ""

    # What it computes

    @abstractmethod
    def write(self, writer: Writer[Node], x: Node, beside: Sequence[Node] = ()) -> Node:
        """Write the intact block.

        Args:
            writer: Takes it down.
            x: The block's input.
            beside: What it reads beside that, as `reads` names it.
        """

    @abstractmethod
    def write_bypass(self, writer: Writer[Node], x: Node, beside: Sequence[Node] = ()) -> Node:
        """Write the block without its branch.

        Args:
            writer: Takes it down.
            x: The block's input.
            beside: What it reads beside that.

        Raises:
            LesionError: If nothing without parameters leads to the block's output shape.
        """

    @abstractmethod
    def write_without(
        self, writer: Writer[Node], x: Node, roads: Collection[int], beside: Sequence[Node] = ()
    ) -> Node:
        """Write the block without some of its branches.

        They add zero; a mean is over the others.

        Args:
            writer: Takes it down.
            x: The block's input.
            roads: Numbers of the branches that are left out, from 1.
            beside: What it reads beside its input.

        Raises:
            LesionError: If the block has no such branches, or none would be left.
        """

    def forward(self, x: Tensor, *beside: Any) -> Tensor:
        """The intact block."""
        out: Tensor = self.write(RUN, x, beside)
        return out

    def deleted(self, x: Tensor, *beside: Any) -> Tensor:
        """The block without its branch; see :meth:`write_bypass`."""
        out: Tensor = self.write_bypass(RUN, x, beside)
        return out

    def dropped(self, x: Tensor, roads: Collection[int], *beside: Any) -> Tensor:
        """The block without some of its branches; see :meth:`write_without`."""
        out: Tensor = self.write_without(RUN, x, roads, beside)
        return out

    def held(self, x: Tensor) -> Tensor:
        """The intact block, with a gate that has its value and no derivative."""
        return self.write(RUN, x)

    def carried(self, x: Tensor) -> Tensor:
        """What the shortcut carries, from the value after `pre`, without a gate."""
        return RUN.part(self.shortcut, "shortcut", x)

    def on_branch(self, x: Tensor) -> Tensor:
        """What the branch adds where it meets the shortcut, from the value after `pre`.

        A gate has its value and no derivative.
        """
        return RUN.part(self.branch, "branch", x)

    def on_shortcut(self, x: Tensor) -> Tensor:
        """What the shortcut adds where it meets the branch, from the value after `pre`.

        A gate has its value and no derivative.
        """
        return self.carried(x)

    # Other blocks made of it

    def with_branch(self, branch: nn.Module) -> Self:
        """The block with another branch; all else is shared with this one.

        Its roads, which are parts of the old branch, are gone.
        """
        twin = self._twin()
        twin.branch = branch
        twin.roads = None
        return twin

    def scaled(self, factor: float) -> Block:
        """The block with its branch multiplied: 0 is the block without it, 1 the block as it is.

        Raises:
            LesionError: If the block has no shortcut.
        """
        raise LesionError(
            f"{self.label} is {self.kind} and has no shortcut: nothing would be left of it where "
            "its branch is scaled to nought; choose a block with a shortcut"
        )

    def beside(self, others: Sequence[Block], mean: bool = False) -> Block:
        """This block and others that all read the same input: ``x`` and the sum of the branches.

        What follows the sum (`post`) is applied once. A block beside no other is itself.

        Args:
            others: The other blocks, in their order.
            mean: Whether the branches are averaged instead of added.

        Raises:
            LesionError: If a block has no shortcut, changes the shape, or what follows the sum of
                one has weights or differs from that of another.
        """
        if not others:
            return self
        raise LesionError(
            f"{self.label} is {self.kind} and has no shortcut: its branch cannot be added to "
            "others; choose blocks with a shortcut"
        )

    def require_roads(self, roads: Collection[int]) -> Roads:
        """The block's roads, unless some cannot be left out.

        Raises:
            LesionError: If the block has no such branches, or none would be left.
        """
        if self.roads is None:
            raise LesionError(
                f"{self.label} is {self.kind} and has no branches to drop one of; delete the block"
            )
        count = len(self.roads)
        for road in roads:
            if not 1 <= road <= count:
                raise LesionError(
                    f"branch {self.index}.{road}: {self.label} has branches 1 to {count}"
                )
        if len(set(roads)) == count:
            raise LesionError(
                f"all {count} branches of {self.label} are dropped; leave one, or delete the block"
            )
        return self.roads

    def bound(self, beside: Sequence[Any]) -> Self:
        """The block of its input alone: what it reads beside that is held at some values.

        Args:
            beside: The values, in the order of `reads`.
        """
        if not self.reads:
            return self
        twin = self._twin()
        for name in ("pre", "branch", "shortcut", "post", "gate"):
            part = getattr(self, name)
            if part is not None:
                twin._modules[name] = Bound(part, beside)
        if self.roads is not None:
            twin.roads = self.roads.bound(beside)
        twin.reads = ()
        return twin

    def _twin(self) -> Self:
        """A block that shares all parts with this one, to put another in place of one."""
        twin = copy.copy(self)
        twin._modules = self._modules.copy()
        return twin

    def extra_repr(self) -> str:
        """The block in a line."""
        return f"{self.index}, {self.name!r}, {self.kind}, {self.in_shape} -> {self.out_shape}"
