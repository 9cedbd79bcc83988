"""Blocks with a shortcut around their branch."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import ClassVar, TypeVar

from torch import Tensor, fx, nn

from ensembles.decomposition.blocks.base import Block, Slot
from ensembles.decomposition.blocks.branches import Scaled, Together
from ensembles.decomposition.blocks.joins import Join
from ensembles.decomposition.road_set import Roads
from ensembles.decomposition.simplification import operation
from ensembles.decomposition.writer import RUN, Writer
from ensembles.errors import LesionError

__all__ = ["Around"]

Node = TypeVar("Node")


class Around(Block):
    """A block whose branch has a shortcut around it: ``post(shortcut(pre(x)) + branch(pre(x)))``.

    Args:
        slot: Where it stands.
        branch: What a deletion removes.
        pre: What branch and shortcut share at their start.
        shortcut: What leads around the branch.
        post: What follows where they meet.
        layers: Weight layers on the longest path through the branch, and on the shortcut.
        aligned: Whether branch and shortcut have one shape.
        roads: The branches that can be dropped one by one.
        gate: The gate's value; gated blocks only.
    """

    has_shortcut: ClassVar[bool] = True

    def __init__(
        self,
        slot: Slot,
        branch: nn.Module,
        *,
        pre: nn.Module | None = None,
        shortcut: nn.Module | None = None,
        post: nn.Module | None = None,
        layers: tuple[int, int] = (0, 0),
        aligned: bool = False,
        roads: Roads | None = None,
        gate: nn.Module | None = None,
    ) -> None:
        super().__init__(
            slot, branch, pre=pre, shortcut=shortcut, post=post, gate=gate, roads=roads
        )
        self.weight_layers, self.shortcut_layers = layers
        self.aligned = aligned

    @property
    def is_transition(self) -> bool:
        """Whether the shortcut is not the identity."""
        return self.shortcut is not None or self.pre is not None

    @property
    def road(self) -> str:
        """What the shortcut is; see `Block.road`."""
        if self.shortcut is None or not self.is_transition:
            text = "identity"
        elif not any(True for _ in self.shortcut.parameters()):
            text = "fixed"
        else:
            text = "projection" if self.shortcut_layers else "scaled"
        return text if self.pre is None else text + "*"

    # What it computes

    def write_sum(self, writer: Writer[Node], middle: Node, beside: Sequence[Node] = ()) -> Node:
        """Write how branch and shortcut meet, from the value after `pre`."""
        made = writer.part(self.branch, "branch", middle, beside)
        carried = writer.part(self.shortcut, "shortcut", middle, beside)
        return writer.add(made, carried, alike=self.aligned)

    def write_kept(self, writer: Writer[Node], middle: Node, beside: Sequence[Node] = ()) -> Node:
        """Write what a deletion leaves where the branches meet, from the value after `pre`."""
        return writer.part(self.shortcut, "shortcut", middle, beside)

    def write(self, writer: Writer[Node], x: Node, beside: Sequence[Node] = ()) -> Node:
        """Write the intact block."""
        middle = writer.part(self.pre, "pre", x, beside)
        return writer.part(self.post, "post", self.write_sum(writer, middle, beside), beside)

    def write_bypass(self, writer: Writer[Node], x: Node, beside: Sequence[Node] = ()) -> Node:
        """Write the block without its branch."""
        middle = writer.part(self.pre, "pre", x, beside)
        return writer.part(self.post, "post", self.write_kept(writer, middle, beside), beside)

    def write_without(
        self, writer: Writer[Node], x: Node, roads: Collection[int], beside: Sequence[Node] = ()
    ) -> Node:
        """Write the block without some of its branches; see `Block.write_without`."""
        every = self.require_roads(roads)
        middle = writer.part(self.pre, "pre", x, beside)
        made = every.write(writer, "roads", middle, roads, beside)
        carried = writer.part(self.shortcut, "shortcut", middle, beside)
        return writer.part(self.post, "post", writer.add(made, carried), beside)

    def join(self, middle: Tensor, made: Tensor, carried: Tensor) -> Join:
        """Where the branches meet, and how each enters.

        Args:
            middle: Value after `pre`.
            made: What the branch made of it.
            carried: What the shortcut carried of it.
        """
        return Join(made + carried)

    def held(self, x: Tensor) -> Tensor:
        """The intact block, with a gate that has its value and no derivative."""
        middle = RUN.part(self.pre, "pre", x)
        total = self.on_branch(middle) + self.on_shortcut(middle)
        return RUN.part(self.post, "post", total)

    # Other blocks made of it

    def scaled(self, factor: float) -> Block:
        """The block with its branch multiplied; see `Block.scaled`."""
        return self if factor == 1 else self.with_branch(Scaled(self.branch, factor))

    def beside(self, others: Sequence[Block], mean: bool = False) -> Block:
        """This block and others that all read the same input; see `Block.beside`."""
        if not others:
            return self
        branches = [self.addend()]
        for other in others:
            self._require_alike(other)
            assert isinstance(other, Around)
            branches.append(other.addend())
        return self.joint(Together(branches, mean))

    def addend(self) -> nn.Module:
        """What the block adds to its input, as a module."""
        return self.branch

    def joint(self, branch: nn.Module) -> Block:
        """The block with a branch that adds to its input what several blocks add."""
        return self.with_branch(branch)

    def _require_alike(self, other: Block) -> None:
        """Refuse blocks that cannot run beside each other."""
        pair = f"{self.label} and {other.label} cannot run side by side"
        if self.kind != other.kind:
            raise LesionError(
                f"{pair}: one is {self.kind}, the other {other.kind}; choose blocks of one kind"
            )
        for block in (self, other):
            if block.is_transition or block.in_shape != block.out_shape:
                raise LesionError(
                    f"{pair}: block {block.index} is a transition or changes the shape, so that "
                    "its branch adds to another tensor than its input; choose blocks of one stage"
                )
            if block.holds:
                raise LesionError(
                    f"{pair}: block {block.index} holds others in its branch; choose blocks that "
                    "hold none"
                )
            if block.is_closed:
                raise LesionError(
                    f"{pair}: weights follow the sum in block {block.index} (a norm after the "
                    "addition), and blocks side by side have one sum; it has no meaning here"
                )
        if self.reads != other.reads:
            raise LesionError(
                f"{pair}: one reads other tensors beside its input than the other; choose blocks "
                "that are built alike"
            )
        if self.in_shape != other.in_shape:
            raise LesionError(
                f"{pair}: their inputs have the shapes {_times(self.in_shape)} and "
                f"{_times(other.in_shape)}; choose blocks of one stage"
            )
        if not _same(self.post, other.post) or not _same(self.shortcut, other.shortcut):
            raise LesionError(
                f"{pair}: what follows the sum, or leads around the branch, is not the same in "
                "both; choose blocks that are built alike"
            )


def _times(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape))


def _same(one: nn.Module | None, other: nn.Module | None) -> bool:
    """Whether two parts do the same operations, without weights of their own."""
    if one is None or other is None:
        return one is other
    held = (*one.parameters(), *other.parameters(), *one.buffers(), *other.buffers())
    return not held and _operations(one) == _operations(other)


def _operations(part: nn.Module) -> list[str]:
    """What a part does, line by line, as a module or as a function, whatever its nodes' names."""
    if not isinstance(part, fx.GraphModule):
        return [repr(part)]
    places = {node: place for place, node in enumerate(part.graph.nodes)}
    lines = []
    for node in places:
        args, kwargs = fx.map_arg((node.args, dict(node.kwargs)), places.__getitem__)
        name, settings = operation(node), {k: v for k, v in kwargs.items() if k != "inplace"}
        if node.op == "call_module":
            module = part.get_submodule(str(node.target))
            name = f"{type(module).__name__.lower()}{module.extra_repr()}"
        lines.append(f"{'' if node.op == 'placeholder' else name} {args} {settings}")
    return lines
