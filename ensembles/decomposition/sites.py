"""A block is made of what lies between two activations."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import fx, nn

from ensembles.decomposition.adapters import Adapter
from ensembles.decomposition.blocks import (
    Block,
    BlockKind,
    Dense,
    Fractal,
    Gated,
    Parallel,
    Plain,
    Residual,
    Slot,
    Straight,
    TwoStream,
)
from ensembles.decomposition.chain import Segment
from ensembles.decomposition.graph import Graph, common_scope
from ensembles.decomposition.nested_blocks import Site
from ensembles.decomposition.road_set import Roads
from ensembles.decomposition.subgraphs import concatenation, contribution, part, passes_on
from ensembles.decomposition.trace import scope_of

__all__ = ["between", "block_at"]

_SUMS: dict[BlockKind, type[Residual] | type[TwoStream]] = {
    cls.kind: cls for cls in (Residual, TwoStream)
}
_STRAIGHT: dict[BlockKind, type[Straight]] = {cls.kind: cls for cls in (Parallel, Fractal, Plain)}


def between(
    graph: Graph, entry: fx.Node, exit_: fx.Node, name: str, beside: Sequence[fx.Node] = ()
) -> nn.Module | None:
    """What leads from one activation to another; None where it is the same."""
    return None if entry is exit_ else part(graph, entry, exit_, name, beside)


def block_at(graph: Graph, site: Site, slot: Slot, beside: Sequence[fx.Node] = ()) -> Block:
    """The block at a site.

    Args:
        graph: The functional graph.
        site: Where it lies.
        slot: Its number, name and shapes.
        beside: What it reads beside its entry.
    """
    core = site.core
    if core is None or not core.shortcut:
        return _straight(graph, site, slot, beside)
    depths = (
        graph.depth(core.branches, core.entry, beside),
        graph.depth(core.shortcut, core.entry, beside),
    )
    around: dict[str, Any] = {
        "pre": between(graph, site.entry, core.entry, "Pre", beside),
        "post": between(graph, core.exit, site.exit, "Post", beside),
        "aligned": core.aligned,
    }
    if core.kind == Dense.kind:
        branch = concatenation(graph, core.entry, core.branches, "Branch", beside)
        width = graph.sizes[core.exit.name].rest[0]
        return Dense(slot, branch, width=width, layers=depths[0], **around)
    if core.gating is not None:
        return Gated(
            slot,
            part(graph, core.entry, core.gating.branch, "Branch", beside, meeting=core.exit),
            gate=part(graph, core.entry, core.gating.gate, "Gate", beside, meeting=core.exit),
            gates_branch=core.gating.on_branch,
            shortcut=between(graph, core.entry, core.gating.carried, "Shortcut", beside),
            layers=depths,
            **around,
        )
    if core.entry not in graph.active:  # a learned token, which is the same for all rows
        branch = part(graph, core.entry, core.branches[0], "Branch", beside)
        return _SUMS[site.kind](slot, branch, layers=depths, **around)
    ends = core.entry, core.exit
    return _SUMS[site.kind](
        slot,
        contribution(graph, *ends, core.shortcut, "Branch", beside=beside),
        shortcut=_shortcut(graph, core, beside),
        layers=depths,
        roads=_roads(graph, core, core.exit, beside),
        **around,
    )


def _straight(graph: Graph, site: Site, slot: Slot, beside: Sequence[fx.Node]) -> Block:
    """A block without a shortcut."""
    entry, exit_ = site.entry, site.exit
    return _STRAIGHT[site.kind](
        slot,
        part(graph, entry, exit_, "Branch", beside),
        adapter=_adapter(graph, entry, exit_, (slot.in_shape, slot.out_shape)),
        layers=graph.depth((exit_,), entry, beside),
        roads=None if site.core is None else _roads(graph, site.core, exit_, beside),
    )


def _roads(graph: Graph, core: Segment, exit_: fx.Node, beside: Sequence[fx.Node]) -> Roads | None:
    """The roads that can be dropped, where there are several."""
    if len(core.roads) < 2:
        return None
    cones = [
        set[fx.Node]().union(*(graph.cone(end, core.entry, beside) for end in ends))
        for ends in core.roads
    ]
    names = []
    for ends, cone in zip(core.roads, cones, strict=True):
        own = cone.difference(*(other for other in cones if other is not cone))
        weighted = [scope_of(node) for node in own if graph.weights(node)]
        names.append(common_scope(weighted) or scope_of(ends[0]))
    mean = core.kind == Fractal.kind
    if mean:
        roads = [
            part(graph, core.entry, end, "Road", beside, meeting=core.exit) for (end,) in core.roads
        ]
    else:
        every = {end for ends in (core.shortcut, *core.roads) for end in ends}
        roads = [
            contribution(
                graph,
                core.entry,
                core.exit,
                every - {*ends},
                "Road",
                within=core.sharing,
                beside=beside,
            )
            for ends in core.roads
        ]
    post = between(graph, core.exit, exit_, "Post", beside)
    return Roads(roads, names, mean, post, core.sharing)


def _shortcut(graph: Graph, core: Segment, beside: Sequence[fx.Node]) -> nn.Module | None:
    """What leads around a branch; None where it gives back what it takes."""
    ends = core.entry, core.exit
    same = core.shortcut == (core.entry,) and _alike(graph, *ends)
    if same and passes_on(graph, *ends, core.branches, beside):
        return None
    road = contribution(graph, *ends, core.branches, "Shortcut", beside=beside)
    return None if same and _gives_back(road, graph, core.entry, len(beside)) else road


def _alike(graph: Graph, entry: fx.Node, exit_: fx.Node) -> bool:
    """Whether two values have one size and one type."""
    sizes = graph.sizes[entry.name]
    alike = sizes.two is not None and sizes == graph.sizes[exit_.name]
    return alike and entry.meta.get("dtype") == exit_.meta.get("dtype")


def _gives_back(road: fx.GraphModule, graph: Graph, entry: fx.Node, beside: int) -> bool:
    """Whether a road gives back what it takes (a tensor taken apart and put together again)."""
    given = [node for node in road.graph.nodes if node.op == "placeholder"]
    if any(node.users for node in given[1:]):  # what it reads beside its input changes it
        return False
    size = torch.Size(graph.sizes[entry.name].two or ())
    probe = torch.arange(size.numel(), device=graph.device).reshape(size)
    return torch.equal(road(probe, *[None] * beside), probe)


def _adapter(
    graph: Graph, entry: fx.Node, exit_: fx.Node, shapes: tuple[tuple[int, ...], tuple[int, ...]]
) -> Adapter | None:
    old, new = shapes
    alone = all(graph.sizes[node.name].batch == (0, 1) for node in (entry, exit_))
    if old == new or len(old) != len(new) or not alone:
        return None
    return Adapter(old, new, _channel_dimension(graph, entry, exit_, len(old)))


def _channel_dimension(graph: Graph, entry: fx.Node, exit_: fx.Node, rank: int) -> int:
    """Channels come first where a convolution made the tensor, last where linear layers did."""
    inside = graph.cone(exit_, entry)
    convolved = any(weight.ndim == rank + 1 for node in inside for weight in graph.weights(node))
    return 0 if rank > 1 and convolved else rank - 1
