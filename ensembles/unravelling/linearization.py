"""A decomposed network, linearised at the activations of a batch of images."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor, nn

from ensembles.decomposition import Block, Decomposition, walk
from ensembles.decomposition.blocks import Around
from ensembles.decomposition.blocks.joins import Among, Entry, Weighted
from ensembles.decomposition.guards import without_guards
from ensembles.decomposition.walk import last_output
from ensembles.errors import PathError
from ensembles.unravelling.linear_networks import LinearBlock, Linearized
from ensembles.unravelling.maps import FunctionMap, LinearMap, chain
from ensembles.unravelling.operations import UnknownOperationError, channels_last, times
from ensembles.unravelling.packed_states import linearized
from ensembles.unravelling.tape_compiler import compile_part
from ensembles.unravelling.tapes import Tape
from ensembles.unravelling.token_streams import EveryToken

__all__ = ["Engine", "LinearBlock", "Linearized", "Linearizer", "require_paths"]

Engine = Literal["fast", "general"]
_Function = Callable[[Tensor], Tensor]


class _Entering:
    """A road that is changed as it enters a sum.

    Attributes:
        road: The road; None for the identity.
    """

    road: LinearMap | None

    def release(self) -> None:
        if self.road is not None:
            self.road.release()


class _AmongOthers(_Entering):
    """A road whose channels stand among those of others."""

    def __init__(self, road: LinearMap | None, entry: Among) -> None:
        self.road, self.before, self.after = road, entry.before, entry.after

    def _pad(self, rows: Tensor) -> Tensor:
        spatial = [0] * (2 * (rows.ndim - 2))
        return nn.functional.pad(rows, [*spatial, self.before, self.after])

    def push(self, rows: Tensor) -> Tensor:
        return self._pad(rows if self.road is None else self.road.push(rows))

    def pull(self, rows: Tensor, images: Tensor | None = None, owned: bool = False) -> Tensor:
        part = rows.narrow(1, self.before, rows.shape[1] - self.before - self.after)
        return part if self.road is None else self.road.pull(part, images, False)

    def constant(self) -> Tensor | None:
        own = None if self.road is None else self.road.constant()
        return None if own is None else self._pad(own)


class _Weighed(_Entering):
    """A road that is multiplied by a factor, such as the images' own value of a gate."""

    def __init__(self, road: LinearMap | None, entry: Weighted) -> None:
        self.road, self.factor = road, entry.factor

    def push(self, rows: Tensor) -> Tensor:
        return times(rows if self.road is None else self.road.push(rows), self.factor, None, False)

    def pull(self, rows: Tensor, images: Tensor | None = None, owned: bool = False) -> Tensor:
        part = times(rows, self.factor, images, False)
        return part if self.road is None else self.road.pull(part, images, True)

    def constant(self) -> Tensor | None:
        own = None if self.road is None else self.road.constant()
        return None if own is None else own * self.factor


class _Broadcast(_Entering):
    """A road that gives fewer numbers than the sum has, each of them added in several places."""

    def __init__(self, road: LinearMap | None, value: Tensor, total: Tensor) -> None:
        self.road, self.shape = road, total.shape[1:]
        pairs = enumerate(zip(value.shape, total.shape, strict=True))
        self.repeated = [dim for dim, (size, whole) in pairs if size != whole]

    def push(self, rows: Tensor) -> Tensor:
        made = rows if self.road is None else self.road.push(rows)
        return made.expand(-1, *self.shape)

    def pull(self, rows: Tensor, images: Tensor | None = None, owned: bool = False) -> Tensor:
        part = rows.sum(self.repeated, keepdim=True)
        return part if self.road is None else self.road.pull(part, images, True)

    def constant(self) -> Tensor | None:
        own = None if self.road is None else self.road.constant()
        return None if own is None else own.expand(-1, *self.shape)


def _entering(
    road: LinearMap | None, entry: Entry, value: Tensor, total: Tensor
) -> LinearMap | None:
    """A road as it enters the tensor where roads meet."""
    if isinstance(entry, Among):
        return _AmongOthers(road, entry)
    if isinstance(entry, Weighted):
        return _Weighed(road, entry)
    alike = value.shape == total.shape or value.ndim != total.ndim
    return road if alike else _Broadcast(road, value, total)


def require_paths(net: Decomposition) -> None:
    """Refuse a network whose paths cannot be told apart, or have no single start and end.

    Raises:
        PathError: Saying what it is, and what is expected.
    """
    if not any(block.has_shortcut for block in net):
        kinds = " and ".join(sorted({block.kind for block in net}))
        kinds = kinds.replace("member", "members of an average")
        only = "is one path" if kinds == "plain" else "has no paths by residual choice"
        raise PathError(
            f"{net.model_name} {only} (its {len(net)} blocks are {kinds}): no block has a "
            "shortcut; expected residual or dense blocks, or count_paths for the graph's paths"
        )
    if net.other_gradient:
        raise PathError(net.other_gradient)
    if net.input_names:
        raise PathError(
            f"{net.model_name} has {len(net.input_names)} inputs; paths are followed to one "
            "tensor of real numbers, so hold the others (a mask, say) fixed in a module around it "
            "that takes that one alone"
        )
    (kind,) = net.input_types
    if not kind.is_floating_point:
        raise PathError(
            f"{net.model_name} takes numbers of type {kind}, which have no derivative; paths are "
            "followed to real numbers, such as images"
        )
    if len(net.output_shape) > 1 and not isinstance(net.head, EveryToken):
        raise PathError(
            f"{net.model_name} gives logits of shape {net.output_shape} for a row; expected "
            "one answer a row, (classes,), as paths end there"
        )


class Linearizer:
    """Prepares a network once, to linearise it at one batch of images after the other.

    Args:
        net: The network.
        engine: "fast" turns parts whose operations are known into tapes; "general" uses
            `torch.func` for all, as a check.

    Raises:
        PathError: If the network has no block with a shortcut, several inputs, or several answers
            for a row.
    """

    def __init__(self, net: Decomposition, engine: Engine = "fast") -> None:
        require_paths(net)
        self.net = net
        self._tapes: dict[int, Tape | None] = {}
        if engine == "fast" and not net.is_nested:
            parts: list[nn.Module | None] = [net.stem, net.head]
            for block in net:
                parts += [block.before, block.pre, block.shortcut, block.branch, block.post]
            self._tapes = {
                id(part): compile_part(without_guards(part)) for part in parts if part is not None
            }

    @property
    def coverage(self) -> float:
        """The share of the branches that have the fast form."""
        branches = [block.branch for block in self.net if block.has_shortcut]
        return sum(self._tapes.get(id(branch)) is not None for branch in branches) / len(branches)

    def at(self, images: Tensor) -> Linearized:
        """Run the network on images (N, *input_shape) and keep the first-order maps.

        Raises:
            PathError: If a part is not differentiable or an activation is not finite.
        """
        if self.net.is_nested:
            return linearized(self.net, images)
        found: list[LinearBlock] = []
        between: list[LinearMap] = []
        start: list[Tensor] = []
        finite: list[Tensor] = []

        def pass_on(part: nn.Module, x: Tensor) -> Tensor:
            name = f"what precedes {self.net.block(len(found) + 1).label}" if found else "the stem"
            value, road = self._map(part, x, name)
            between.append(road)
            return value

        def run(block: Block, x: Tensor) -> Tensor:
            if not found:
                start.append(x)
            before = None if block.before is None else between.pop()
            y, linear = self._block(block, x, before)
            finite.append(torch.isfinite(y).all())
            found.append(linear)
            return y

        with torch.no_grad():
            last = last_output(walk(self.net, images, run, pass_on))
            logits, head = self._map(self.net.head, last, "the head")
        (stem,) = between
        wrong = (~torch.stack(finite)).nonzero()  # looked at once, for a GPU is waited for then
        if len(wrong):
            raise PathError(
                f"{self.net.block(int(wrong[0]) + 1).label} gives values that are not finite; "
                "check the weights and the normalisation of the images"
            )
        return Linearized(images, stem, start[0], tuple(found), head, logits)

    def _block(
        self, block: Block, x: Tensor, before: LinearMap | None
    ) -> tuple[Tensor, LinearBlock]:
        name = block.label
        if not isinstance(block, Around):
            y, road = self._map(block.branch, x, name)
            return y, LinearBlock(block.index, before, None, road, None, None)
        x, pre = self._optional(block.pre, x, name)
        made, branch = self._map(block.branch, x, name)
        carried, shortcut = self._optional(block.shortcut, x, f"the shortcut of {name}")
        join = block.join(x, made, carried)
        y, post = self._optional(block.post, join.total, name)
        roads = (
            _entering(shortcut, join.shortcut, carried, join.total),
            _entering(branch, join.branch, made, join.total),
        )
        return y, LinearBlock(block.index, before, pre, *roads, post)

    def _optional(
        self, part: nn.Module | None, x: Tensor, name: str
    ) -> tuple[Tensor, LinearMap | None]:
        return (x, None) if part is None else self._map(part, x, name)

    def _map(self, part: nn.Module, x: Tensor, name: str) -> tuple[Tensor, LinearMap]:
        tape = self._tapes.get(id(part))
        if tape is not None:
            try:
                found = tape.linearize(x)
            except UnknownOperationError:
                self._tapes[id(part)] = None
            else:
                return found.value, found
        general = FunctionMap(without_guards(part), x, name)
        return general.value, general


def through(maps: list[LinearMap | None]) -> LinearMap | None:
    """Maps one after another; None where all are the identity."""
    known = [part for part in maps if part is not None]
    return chain(known) if known else None


def zeros(count: int, shape: tuple[int, ...], like: Tensor) -> Tensor:
    """Rows of zeros (count, *shape), images in channels-last layout."""
    out = torch.zeros(count, *shape, dtype=like.dtype, device=like.device)
    return channels_last(out)
