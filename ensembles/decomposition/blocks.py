"""The parts of a decomposed network: stem, blocks and head."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator
from typing import Literal

import torch
from torch import Tensor, nn

from ensembles.decomposition.adapters import Adapter
from ensembles.decomposition.road_set import Roads
from ensembles.errors import LesionError

__all__ = ["Block", "BlockKind", "Decomposition"]

BlockKind = Literal[
    "residual", "gated", "two-stream", "dense", "parallel", "fractal", "plain", "member"
]
_SHORTCUT = ("residual", "gated", "two-stream", "dense")


class Block(nn.Module):
    """A part of a network that can be lesioned.

    A residual block computes ``post(shortcut(pre(x)) + branch(pre(x)))``; in a two-stream block the
    shortcut carries some of the channels alone; a gated block has a gate t on both roads,
    ``(1 - t) * shortcut + t * branch``; a dense one concatenates instead of adding. Others are
    their branch alone: parallel roads that meet, fractal ones that are averaged, a plain layer, a
    member of an average. ``pre``, ``shortcut`` and ``post`` are None where they are the identity.

    Attributes:
        index: The block's number, from 1.
        name: The module that it comes from.
        kind: "residual", "gated", "two-stream", "dense", "parallel", "fractal", "plain", "member".
        before: What stands between the previous block and this one and is never lesioned.
        pre: What both roads share at their start (BN and ReLU of a pre-activation transition).
        in_shape: Shape of the block's input, without the batch.
        out_shape: Shape of its output, without the batch.
        weight_layers: Weight layers on the longest road of the branch.
        shortcut_layers: Weight layers on the shortcut.
        aligned: Whether branch and shortcut have one shape, so that neither is broadcast.
        width: Channels of the concatenation; dense blocks only.
        adapter: What takes the block's place when it is deleted; blocks with a shortcut keep that
            instead.
        gate: The gate's value, from what both roads share; gated blocks only.
        gates_branch: Whether the gate multiplies the branch too, not the shortcut alone.
        roads: The roads that can be dropped one by one; None where there is only one.
        step: Which use of its weights this block is, from 1: weights that several blocks share
            are used at several time steps.
        steps: How many blocks use these weights.
    """

    def __init__(
        self,
        *,
        index: int,
        name: str,
        kind: BlockKind,
        branch: nn.Module,
        shapes: tuple[tuple[int, ...], tuple[int, ...]],
        before: nn.Module | None = None,
        pre: nn.Module | None = None,
        shortcut: nn.Module | None = None,
        post: nn.Module | None = None,
        adapter: Adapter | None = None,
        layers: tuple[int, int] = (0, 0),
        aligned: bool = False,
        width: int = 0,
        gate: nn.Module | None = None,
        gates_branch: bool = False,
        roads: Roads | None = None,
    ) -> None:
        super().__init__()
        self.index, self.name, self.kind = index, name, kind
        self.in_shape, self.out_shape = shapes
        self.weight_layers, self.shortcut_layers = layers
        self.before, self.pre, self.branch = before, pre, branch
        self.shortcut, self.post = shortcut, post
        self.adapter = adapter
        self.aligned = aligned
        self.width = width
        self.gate, self.gates_branch = gate, gates_branch
        self.roads = roads
        self.step, self.steps = 1, 1

    @property
    def is_transition(self) -> bool:
        """Whether the shortcut is not the identity; without one, whether the shape changes.

        The shortcut of a dense block is the identity: what its branch adds stands beside it. That
        of a two-stream block is, where it keeps the shape of its stream.
        """
        if self.kind == "two-stream" and self.pre is None:
            return self.in_shape != self.out_shape
        if self.has_shortcut:
            return self.shortcut is not None or self.pre is not None
        return self.in_shape != self.out_shape

    @property
    def has_shortcut(self) -> bool:
        """Whether a road around the branch exists, so that paths are defined."""
        return self.kind in _SHORTCUT

    @property
    def road(self) -> str:
        """What the shortcut is.

        "none", "identity", "fixed" (no parameters: subsampled, padded), "scaled" (parameters but no
        weight layer) or "projection"; "identity*" and so on where both roads begin after `pre`.
        """
        if not self.has_shortcut:
            return "none"
        if self.shortcut is None or (self.kind == "two-stream" and not self.is_transition):
            text = "identity"
        elif not any(True for _ in self.shortcut.parameters()):
            text = "fixed"
        else:
            text = "projection" if self.shortcut_layers else "scaled"
        return text if self.pre is None else text + "*"

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

    def forward(self, x: Tensor) -> Tensor:
        """The intact block."""
        if not self.has_shortcut:
            out: Tensor = self.branch(x)
            return out
        x = x if self.pre is None else self.pre(x)
        branch = self.branch(x)
        if self.kind == "dense":
            out = torch.cat([x, branch], 1)
        elif self.gate is not None:
            gate = self.gate(x)
            out = (gate * branch if self.gates_branch else branch) + (1 - gate) * self.carried(x)
        else:
            out = branch + self.carried(x)
        return out if self.post is None else self.post(out)

    def held(self, x: Tensor) -> Tensor:
        """The intact block, with a gate that has its value and no derivative."""
        if self.gate is None:
            out: Tensor = self(x)
            return out
        x = x if self.pre is None else self.pre(x)
        out = self.on_branch(x) + self.on_shortcut(x)
        return out if self.post is None else self.post(out)

    def deleted(self, x: Tensor) -> Tensor:
        """The block without its branch; a gate is closed, so that all is carried.

        Raises:
            LesionError: If nothing without parameters leads to the block's output shape.
        """
        if not self.deletable:
            raise LesionError(
                f"block {self.index} ({self.name}) cannot be deleted: it turns shape "
                f"{self.in_shape} into {self.out_shape}"
            )
        if not self.has_shortcut:
            return x if self.adapter is None else self.adapter(x)
        x = x if self.pre is None else self.pre(x)
        out = self.on_shortcut(x) if self.gate is None else self.carried(x)
        return out if self.post is None else self.post(out)

    def dropped(self, x: Tensor, roads: Collection[int]) -> Tensor:
        """The block without some of its roads: what they add is nought, a mean is over the others.

        Args:
            x: The block's input.
            roads: Numbers of the roads that are left out, from 1.

        Raises:
            LesionError: If the block has no such roads, or none would be left.
        """
        self.require_roads(roads)
        assert self.roads is not None
        x = x if self.pre is None else self.pre(x)
        out: Tensor = self.roads(x, roads)
        out = out + self.on_shortcut(x) if self.has_shortcut else out
        post = self.post if self.has_shortcut else self.roads.post
        return out if post is None else post(out)

    def require_roads(self, roads: Collection[int]) -> None:
        """Refuse roads that cannot be left out.

        Raises:
            LesionError: If the block has no such roads, or none would be left.
        """
        named = f"block {self.index} ({self.name})"
        if self.roads is None:
            raise LesionError(
                f"{named} is {self.kind} and has no roads to drop one of; delete the block"
            )
        count = len(self.roads)
        for road in roads:
            if not 1 <= road <= count:
                raise LesionError(f"road {self.index}.{road}: {named} has roads 1 to {count}")
        if len(set(roads)) == count:
            raise LesionError(
                f"all {count} roads of {named} are dropped; leave one, or delete the block"
            )

    def carried(self, x: Tensor) -> Tensor:
        """What the shortcut carries, from the value after `pre`, without a gate."""
        out: Tensor = x if self.shortcut is None else self.shortcut(x)
        return out

    def on_shortcut(self, x: Tensor) -> Tensor:
        """What the shortcut adds to the block's sum, from the value after `pre`.

        A gate has its value and no derivative.
        """
        if self.kind == "dense":
            zeros = x.new_zeros(len(x), self.width - x.shape[1], *x.shape[2:])
            return torch.cat([x, zeros], 1)
        out: Tensor = self.carried(x)
        return out if self.gate is None else (1 - self._held_gate(x)) * out

    def on_branch(self, x: Tensor) -> Tensor:
        """What the branch adds to the block's sum, from the value after `pre`.

        A gate has its value and no derivative.
        """
        out: Tensor = self.branch(x)
        if self.kind == "dense":
            return torch.cat([x.new_zeros(len(x), x.shape[1], *out.shape[2:]), out], 1)
        if self.gate is not None and self.gates_branch:
            return self._held_gate(x) * out
        return out

    def _held_gate(self, x: Tensor) -> Tensor:
        assert self.gate is not None
        out: Tensor = self.gate(x)
        return out.detach()

    def extra_repr(self) -> str:
        """The block in a line."""
        return f"{self.index}, {self.name!r}, {self.kind}, {self.in_shape} -> {self.out_shape}"


class Decomposition(nn.Module):
    """A network as stem, blocks and head; calling it gives the model's own output.

    Attributes:
        stem: What comes before the first block.
        blocks: The blocks in order (`Block`), numbered from 1.
        head: What comes after the last block.
        model_name: The class of the model, or the name it was registered under.
        input_shape: Shape of one image: (channels, height, width).
        num_classes: How many logits there are for an image.
        found: How many segments of each kind the network has, those not taken as blocks included.
        traced: The functional graph of the whole network.
    """

    def __init__(
        self,
        *,
        stem: nn.Module,
        blocks: list[Block],
        head: nn.Module,
        model_name: str,
        input_shape: tuple[int, ...],
        num_classes: int,
        found: Counter[str],
        traced: nn.Module,
    ) -> None:
        super().__init__()
        self.stem, self.head = stem, head
        self.blocks = nn.ModuleList(blocks)
        self.model_name, self.input_shape, self.found = model_name, input_shape, found
        self.num_classes = num_classes
        self.traced = traced

    def __len__(self) -> int:
        return len(self.blocks)

    def __iter__(self) -> Iterator[Block]:
        for block in self.blocks:
            assert isinstance(block, Block)
            yield block

    def block(self, index: int) -> Block:
        """The block with a number, from 1.

        Raises:
            LesionError: If there is no such block.
        """
        if not 1 <= index <= len(self):
            raise LesionError(f"block {index}: the network has blocks 1 to {len(self)}")
        found = self.blocks[index - 1]
        assert isinstance(found, Block)
        return found

    @property
    def names(self) -> tuple[str, ...]:
        """The blocks' names, in order."""
        return tuple(block.name for block in self)

    @property
    def road_counts(self) -> tuple[int, ...]:
        """How many roads each block has that can be dropped, 0 where there are none."""
        return tuple(0 if block.roads is None else len(block.roads) for block in self)

    @property
    def transitions(self) -> tuple[int, ...]:
        """The numbers of the blocks whose shortcut is not the identity."""
        return tuple(block.index for block in self if block.is_transition)

    def forward(self, x: Tensor) -> Tensor:
        """Logits of shape (images, classes) from images of shape (images, *input_shape)."""
        x = self.stem(x)
        for block in self:
            x = x if block.before is None else block.before(x)
            x = block(x)
        out: Tensor = self.head(x)
        return out
