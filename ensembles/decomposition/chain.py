"""The dominator chain of a network, cut into single-entry, single-exit segments."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from torch import fx

from ensembles.decomposition.gates import Gating, find_gating
from ensembles.decomposition.graph import Graph
from ensembles.decomposition.hook_sums import steers
from ensembles.decomposition.junctions import Meeting, Road, addends, is_placing, meeting
from ensembles.decomposition.simplification import (
    average,
    concat_parts,
    is_add,
    is_concat,
    is_stack,
)

__all__ = ["Segment", "classified", "cut"]


@dataclass(frozen=True)
class Segment:
    """What lies between two neighbours of the dominator chain.

    Attributes:
        entry: The node whose value enters.
        exit: The node whose value leaves.
        kind: "residual", "two-stream", "gated", "dense", "parallel", "fractal", "composite",
            "weight", "norm", "activation", "other".
        shortcut: The nodes that end the shortcut (the entry itself for the identity); only where
            there is one.
        branches: The nodes that end the other roads.
        aligned: Whether what is added has one shape, so that nothing is broadcast.
        roads: The nodes that end each road but the shortcut, from left to right.
        sharing: Whether they share operations, so that they count as one among the roads.
        gating: The gate of a gated segment.
    """

    entry: fx.Node
    exit: fx.Node
    kind: str
    shortcut: tuple[fx.Node, ...] = ()
    branches: tuple[fx.Node, ...] = ()
    aligned: bool = False
    roads: tuple[tuple[fx.Node, ...], ...] = ()
    sharing: bool = False
    gating: Gating | None = None


def cut(graph: Graph) -> list[Segment]:
    """Cut a graph's chain into segments and classify them, from the input to the logits."""
    pairs = zip(graph.chain, graph.chain[1:], strict=False)
    return [classified(graph, entry, exit_) for entry, exit_ in pairs]


def classified(graph: Graph, entry: fx.Node, exit_: fx.Node) -> Segment:
    """What lies between a tensor and another through which all ways to it lead."""
    inside = graph.cone(exit_, entry)
    sums_of_parts = is_stack(exit_) or is_placing(exit_)
    joins = is_add(exit_) or is_concat(exit_) or exit_.target is average or sums_of_parts
    if len(inside) == 1 and not joins:
        return Segment(entry, exit_, graph.kind(exit_))
    found = _joined(graph, entry, exit_) if joins else None
    if found is not None:
        return found
    has_weights = any(graph.is_weight_layer(node) for node in inside)
    return Segment(entry, exit_, "composite" if has_weights else "other")


def _joined(graph: Graph, entry: fx.Node, exit_: fx.Node) -> Segment | None:
    if exit_.target is average:
        return _averaged(graph, entry, exit_)
    gating = find_gating(graph, entry, exit_)
    if gating is not None:
        ends = (gating.carried,), (gating.branch,)
        return Segment(entry, exit_, "gated", *ends, gating=gating)
    if steers(graph, entry, exit_):
        return None
    found = meeting(graph, entry, exit_)
    if len(found.roads) < 2 or not any(road.weighted for road in found.roads):
        return None
    around = _around(graph, entry, exit_, found)
    apart = is_add(exit_) or is_concat(exit_)
    return around or (_beside(entry, exit_, found) if apart else None)


def _around(graph: Graph, entry: fx.Node, exit_: fx.Node, found: Meeting) -> Segment | None:
    """A segment whose cheapest road is a shortcut."""
    ways = _with_the_rest(found.roads)
    if len(ways) < 2:
        return None
    first, second = ways[:2]
    in_part = second.whole and not first.whole
    shorter = first.layers < second.layers or not first.layers or in_part
    if found.added and shorter and first.cost < second.cost:
        kind = "two-stream" if in_part else "residual"
        rest = tuple(end for road in ways[1:] for end in road.ends)
        roads, sharing = _in_place(ways[1:]), False
        if len(roads) == 1:  # one road may add up several branches
            within = addends(graph, entry, exit_, first.ends)
            roads, sharing = tuple((end,) for end in within) or roads, bool(within)
        return Segment(entry, exit_, kind, first.ends, rest, found.aligned, roads, sharing)
    if is_concat(exit_):
        parts, dim = concat_parts(exit_)
        rank = len(graph.sizes[exit_.name].two or ())
        if dim in (1, 1 - rank) and parts[0] is entry and entry not in parts[1:]:
            return Segment(entry, exit_, "dense", (entry,), tuple(parts[1:]))
    return None


def _with_the_rest(roads: Sequence[Road]) -> Sequence[Road]:
    """Roads, where a changed part of what is carried belongs to the road that carries the rest.

    As where channels of the input are scaled in place, and the whole is added to the branch.
    """
    parts = [road for road in roads if not (road.whole or road.weighted) and road.nodes]
    whole = [road for road in roads if road.whole and not road.nodes]
    if not parts or not whole:
        return roads
    carried = [*whole, *parts]
    first = replace(whole[0], ends=tuple(end for road in carried for end in road.ends))
    return [first, *(road for road in roads if road not in carried)]


def _beside(entry: fx.Node, exit_: fx.Node, found: Meeting) -> Segment | None:
    """A segment of roads with weights, none of which is a shortcut."""
    if not any(road.layers for road in found.roads):
        return None
    ends = tuple(end for road in found.roads for end in road.ends)
    return Segment(entry, exit_, "parallel", branches=ends, roads=_in_place(found.roads))


def _averaged(graph: Graph, entry: fx.Node, exit_: fx.Node) -> Segment | None:
    roads = tuple(graph.inputs(exit_))
    weighted = any(graph.weights(node) for node in graph.cone(exit_, entry))
    if not weighted or len(roads) < 2 or len(roads) < len(exit_.args):
        return None
    each = tuple((road,) for road in roads)
    return Segment(entry, exit_, "fractal", branches=roads, roads=each)


def _in_place(roads: Iterable[Road]) -> tuple[tuple[fx.Node, ...], ...]:
    """The ends of roads, from left to right."""
    return tuple(road.ends for road in sorted(roads, key=lambda road: road.place))
