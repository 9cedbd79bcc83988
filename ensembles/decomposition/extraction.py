"""Parts of a graph become modules of their own."""

from __future__ import annotations

import operator
from collections.abc import Sequence

import torch
from torch import fx

from ensembles.decomposition.chain import Graph
from ensembles.decomposition.rewriting import size_affine
from ensembles.errors import DecompositionError

__all__ = ["extract"]


def extract(
    graph: Graph, entry: fx.Node, exits: Sequence[fx.Node], name: str, *, join: str = "add"
) -> fx.GraphModule:
    """Cut out what leads from one activation to others.

    Args:
        graph: The functional graph of the whole network.
        entry: The node whose value becomes the only input.
        exits: The nodes whose values are summed (`join="add"`) or concatenated along the channels
            (`join="concat"`); mostly one.
        name: The class name of the module, seen when it is printed.
        join: How several exits become one output.

    Returns:
        A module of one input, sharing its parameters with the graph.

    Raises:
        DecompositionError: If the part needs another activation than its entry.
    """
    needed = _needed(graph, entry, exits)
    part = fx.Graph()
    placed: dict[fx.Node, fx.Node] = {entry: part.placeholder("x")}
    batch = graph.sizes[entry.name].batch
    assert batch is not None
    for node in needed:
        if node.meta.get("batch_size"):
            _, _, _, factor, offset = node.args
            placed[node] = part.call_function(size_affine, (placed[entry], *batch, factor, offset))
        else:
            placed[node] = part.node_copy(node, placed.__getitem__)
    ends = [placed[node] for node in exits]
    if join == "concat" and len(ends) > 1:
        result = part.call_function(torch.cat, (ends, 1))
    else:
        result = ends[0]
        for other in ends[1:]:
            result = part.call_function(operator.add, (result, other))
    part.output(result)
    module = fx.GraphModule(graph.traced, part, name)
    return module.eval()


def _needed(graph: Graph, entry: fx.Node, exits: Sequence[fx.Node]) -> list[fx.Node]:
    """The nodes between entry and exits, with the constants they use, in order."""
    found: set[fx.Node] = set()
    open_nodes = [node for node in exits if node is not entry]
    while open_nodes:
        node = open_nodes.pop()
        if node in found:
            continue
        if node is graph.input and node is not entry:
            raise DecompositionError(
                f"the part from {entry.name} to {exits[0].name} also reads the images; "
                "expected one entry"
            )
        found.add(node)
        if node.meta.get("batch_size"):
            continue
        open_nodes.extend(n for n in node.all_input_nodes if n is not entry)
    return sorted(found, key=graph.order.__getitem__)
