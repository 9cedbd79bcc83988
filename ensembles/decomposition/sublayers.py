"""Which blocks of a transformer are attention, and which are MLPs: what a layer is made of."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import fx, nn

from ensembles.decomposition.blocks import Block

if TYPE_CHECKING:
    from ensembles.decomposition.network import Decomposition

__all__ = ["Sublayer", "attends", "sublayers_of"]

_ATTENTION = ("scaled_dot_product_attention", "multi_head_attention_forward")
_WEIGHING = "softmax"  # of attention that is written out, or of experts that are chosen
_ROUNDING = 1e-5


class Sublayer(NamedTuple):
    """A branch of a layer.

    Attributes:
        layer: Number of the layer, from 1.
        kind: "attention" or "mlp".
        block: Number of its block.
        road: Number of the branch in a block that adds several at once; 0 where it is all of it.
        name: The module that it comes from.
    """

    layer: int
    kind: str
    block: int
    road: int
    name: str


def sublayers_of(net: Decomposition) -> list[Sublayer]:
    """The branches of attention, and those that work on each position by itself, in order.

    A layer begins with attention that follows an MLP; a block that adds both at once is a layer.
    Blocks that are neither, such as convolutions over positions, are left out.

    Args:
        net: The network.
    """
    found: list[Sublayer] = []
    layer = 1
    for block in net:
        kinds = list(_kinds(block)) if block.has_shortcut else []
        begins = bool(kinds) and kinds[0][1] == "attention"
        if begins and found and (found[-1].kind == "mlp" or len(kinds) > 1):
            layer += any(one.kind == "attention" for one in found)
        found += [Sublayer(layer, kind, block.index, road, name) for road, kind, name in kinds]
    return found


def attends(part: nn.Module) -> bool:
    """Whether a branch lets positions see each other by attention, as its graph says."""
    return _runs(part, *_ATTENTION, _WEIGHING)


def _runs(part: nn.Module, *names: str) -> bool:
    """Whether a branch calls one of some functions, or torch's module of attention."""
    return any(
        getattr(node.target, "__name__", str(node.target)) in names
        or isinstance(_module(inner, node), nn.MultiheadAttention)
        for inner in part.modules()
        if isinstance(inner, fx.GraphModule)
        for node in inner.graph.nodes
    )


def _module(part: nn.Module, node: fx.Node) -> nn.Module | None:
    return part.get_submodule(str(node.target)) if node.op == "call_module" else None


def _kinds(block: Block) -> Iterator[tuple[int, str, str]]:
    """Road (0 for the block), kind and name of each branch of a block that is of either kind."""
    if block.roads is not None:
        names = block.roads.names
        each = [
            (road, _kind(block, part), name)
            for road, (part, name) in enumerate(zip(block.roads.roads, names, strict=True), 1)
        ]
        if {"attention", "mlp"} <= {kind for _, kind, _ in each}:
            yield from sorted(
                ((road, kind, name) for road, kind, name in each if kind),
                key=lambda one: one[1] != "attention",
            )
            return
    kind = _kind(block, block.branch)
    if kind:
        yield 0, kind, block.name


def _kind(block: Block, part: nn.Module) -> str:
    """What a branch of a block is; "" for neither kind."""
    attention = attends(part)
    if block.reads:  # a mask, which is not there: only attention reads one
        return "attention" if attention else ""
    if block.in_shape != block.out_shape or len(block.in_shape) < 2:
        return ""
    apart = _apart(block, part)
    if attention and (not apart or _runs(part, *_ATTENTION)):
        return "attention"
    return "mlp" if apart and any(True for _ in part.parameters()) else ""


def _apart(block: Block, part: nn.Module) -> bool:
    """Whether a branch of a block works on each position by itself.

    One position of a random stream is changed; the output must stay as it is at all others.
    Channels are the last dimension of a sequence; of maps the last or the first.
    """
    weight = next(block.parameters(), None)
    draws = torch.Generator().manual_seed(0)
    shape = block.in_shape
    x = torch.randn(1, *shape, generator=draws)
    for channels in (-1,) if len(shape) == 2 else (-1, 1):
        changed = x.clone()
        moved = changed.movedim(channels, -1)
        moved[(0,) * (moved.ndim - 1)] = torch.randn(moved.shape[-1], generator=draws)
        both = torch.cat([x, changed])
        both = both if weight is None else both.to(weight)
        with torch.no_grad():
            one, other = part(both if block.pre is None else block.pre(both)).float()
        gap = (one - other).abs().movedim(channels if channels < 0 else 0, -1).amax(-1).flatten()
        if bool((gap[1:] <= _ROUNDING * one.abs().amax()).all()):
            return True
    return False
