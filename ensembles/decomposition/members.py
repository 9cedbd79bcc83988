"""An average of several networks is taken apart into its members.

The members stand side by side, but leave the average one by one as the blocks of a chain do. So
they are written as one: its state holds the images, the sum of what the members gave so far, and
their number. A member adds to the sum and counts itself; the head divides. A member that is deleted
leaves the average to the others, and one that runs twice has twice the weight.
"""

from __future__ import annotations

import math
import operator
from collections import Counter
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import fx, nn

from ensembles.decomposition.blocks import Block, Member, Slot
from ensembles.decomposition.chain import Segment
from ensembles.decomposition.graph import Graph, common_scope
from ensembles.decomposition.network import Decomposition, Outside
from ensembles.decomposition.subgraphs import Cut
from ensembles.decomposition.trace import scope_of

__all__ = ["assemble_members", "members_of"]


def members_of(graph: Graph, segments: Sequence[Segment]) -> tuple[fx.Node, ...]:
    """The ends of an average's members; empty where a network is no average of networks.

    It is one when a mean of roads begins at the images, the roads share no weights' operations, and
    nothing after the mean has weights.
    """
    first = segments[0]
    if first.kind != "fractal" or first.entry is not graph.input:
        return ()
    later = (node for segment in segments[1:] for node in graph.cone(segment.exit, segment.entry))
    cones = [graph.cone(end, graph.input) for end in first.branches]
    used = Counter(node for cone in cones for node in cone if graph.weights(node))
    flat = all(len(graph.sizes[end.name].shape) == 1 for end in first.branches)
    apart = flat and max(used.values()) == 1 and not any(graph.weights(node) for node in later)
    return first.branches if apart else ()


def assemble_members(
    graph: Graph, segments: Sequence[Segment], ends: Sequence[fx.Node], outside: Outside
) -> Decomposition:
    """Write an average as a chain of its members.

    Args:
        graph: The functional graph of the whole network.
        segments: Its segments, of which the first is the mean.
        ends: The ends of the members.
        outside: What the network is seen from outside.
    """
    image = graph.sizes[graph.input.name].shape
    pixels, width = math.prod(image), graph.sizes[ends[0].name].shape[0]
    state = (pixels + width + 1,)
    blocks: list[Block] = [
        Member(
            Slot(index, _name(graph, end) or f"member {index}", state, state),
            _member(graph, end, image, width),
            layers=graph.depth((end,), graph.input),
        )
        for index, end in enumerate(ends, 1)
    ]
    assert isinstance(graph.output, fx.Node)
    net = Decomposition(
        stem=_stem(width),
        blocks=blocks,
        head=_head(graph, segments[0].exit, pixels, width),
        outside=outside,
        found=Counter({"member": len(blocks)}),
        traced=graph.traced,
    )
    return net.eval()


def _name(graph: Graph, end: fx.Node) -> str:
    inside = graph.cone(end, graph.input)
    return common_scope(scope_of(node) for node in inside if graph.weights(node))


def _stem(width: int) -> fx.GraphModule:
    """Images become the state of an average of nothing."""
    graph = fx.Graph()
    flat = graph.call_method("flatten", (graph.placeholder("x"), 1))
    graph.output(graph.call_function(F.pad, (flat, (0, width + 1))))
    return fx.GraphModule(nn.Module(), graph, "Stem").eval()


def _member(graph: Graph, end: fx.Node, image: tuple[int, ...], width: int) -> fx.GraphModule:
    """Add what a member makes of the images to the state."""
    cut = Cut(graph, graph.input)
    state, pixels = cut.placed[graph.input], math.prod(image)
    flat = cut.graph.call_method("narrow", (state, 1, 0, pixels))
    cut.placed[graph.input] = cut.graph.call_function(torch.unflatten, (flat, 1, image))
    made = cut.graph.call_function(F.pad, (cut.value(end), (pixels, 0)))
    counted = cut.graph.call_function(F.pad, (made, (0, 1), "constant", 1.0))
    return cut.module(cut.graph.call_function(operator.add, (state, counted)), "Member")


def _head(graph: Graph, mean: fx.Node, pixels: int, width: int) -> fx.GraphModule:
    """Divide the sum by the number of members, and do what the model does with the mean."""
    cut = Cut(graph, mean)
    state = cut.placed[mean]
    total = cut.graph.call_method("narrow", (state, 1, pixels, width))
    count = cut.graph.call_method("narrow", (state, 1, pixels + width, 1))
    cut.placed[mean] = cut.graph.call_function(torch.div, (total, count))
    assert isinstance(graph.output, fx.Node)
    return cut.module(cut.value(graph.output), "Head")
