"""How many paths there are, and how long they are: exact integers."""

from __future__ import annotations

import math
from collections.abc import Iterable

from torch import fx, nn

from ensembles.decomposition import Decomposition
from ensembles.decomposition.graph import Graph
from ensembles.decomposition.simplification import operation
from ensembles.errors import PathError
from ensembles.unravelling.nested_counts import nested_joint_lengths, nested_lengths
from ensembles.unravelling.places import Place

__all__ = [
    "block_lengths", "graph_lengths", "joint_lengths", "only_branch_learns", "paths_to",
    "weight_lengths",
]  # fmt: skip

Polynomial = dict[int, int]


def block_lengths(net: Decomposition) -> Polynomial:
    """Number of paths by the number of branches on them: C(n, k) for n residual blocks.

    A network without shortcuts has one path, of length 0. Blocks beside and inside each other are
    counted on the graph: a choice that no way makes is no path.
    """
    if net.is_nested:
        return nested_lengths(net)
    choices = sum(block.has_shortcut for block in net)
    return {k: math.comb(choices, k) for k in range(choices + 1)}


def paths_to(net: Decomposition, place: Place) -> Polynomial:
    """Number of paths of each length between the loss and a place.

    Paths to the input of block i choose at blocks i..n. Those to the parameters of block i choose
    at i+1..n; they enter the branch, which counts, and, where the shortcut or what both roads
    share has parameters too, also the shortcut.
    """
    if net.is_nested:
        return nested_lengths(net)
    first = place.block + 1 if place.is_output else place.block
    choices = sum(block.has_shortcut for block in net if block.index >= first)
    if place.is_learned and only_branch_learns(net, place.block):
        return {k: math.comb(choices - 1, k - 1) if k else 0 for k in range(choices + 1)}
    return {k: math.comb(choices, k) for k in range(choices + 1)}


def only_branch_learns(net: Decomposition, index: int) -> bool:
    """Whether all parameters of a block with a shortcut are its branch's."""
    block = net.block(index)
    if not block.has_shortcut:
        return False
    others = (block.pre, block.shortcut, block.post)
    return not any(True for part in others if part is not None for _ in part.parameters())


def joint_lengths(net: Decomposition) -> dict[tuple[int, int], int]:
    """Number of paths by (branches, weight layers of the blocks' roads).

    A road counts its longest way (`Block.weight_layers`, `Block.shortcut_layers`); layers of the
    stem, between blocks and of the head, which every path passes, are not counted here.
    """
    if net.is_nested:
        return nested_joint_lengths(net)
    counts = {(0, 0): 1}
    for block in net:
        roads = [(1, block.weight_layers), (0, block.shortcut_layers)]
        if not block.has_shortcut:
            roads = [(0, block.weight_layers)]
        new: dict[tuple[int, int], int] = {}
        for (k, w), number in counts.items():
            for step, layers in roads:
                key = (k + step, w + layers)
                new[key] = new.get(key, 0) + number
        counts = new
    return counts


def weight_lengths(net: Decomposition) -> Polynomial:
    """Number of paths through the blocks by weight layers: the polynomial product over blocks."""
    counts: Polynomial = {}
    for (_, layers), number in joint_lengths(net).items():
        counts[layers] = counts.get(layers, 0) + number
    return dict(sorted(counts.items()))


def graph_lengths(net: Decomposition) -> Polynomial:
    """Number of paths of the whole network by the number of weight layers on them.

    Every way from the images to the logits along the edges of the traced graph is a path; its
    length counts all convolutions, linear layers and attention layers on it, those of shortcuts and
    of the classifier included. The gate of a gated block is held at its value: no way leads through
    it, unless blocks are nested. This convention gives the published figures: ResNet-152 has 2^50
    paths of 6 to 152 layers, GoogLeNet 262,144 paths of 13 to 22 layers, a VGG one path.

    Raises:
        PathError: If the network has no traced graph.
    """
    if not isinstance(net.traced, fx.GraphModule):
        raise PathError(
            f"{net.model_name} has no traced graph to count paths in; expected a network from "
            "decompose()"
        )
    if net.is_nested:
        ways = _ways(net.traced, carrying=True)
    elif any(block.gate is not None for block in net):
        ways = _with_held_gates(net)
    else:
        ways = _ways(net.traced)
    return {length: number for length, number in enumerate(ways) if number}


def _ways(module: nn.Module | None, *, carrying: bool = False) -> list[int]:
    """Number of ways through a graph by the weight layers on them; nothing leads through a size.

    Args:
        module: The graph.
        carrying: Whether only what carries a gradient counts, no masks and positions.
    """
    if not isinstance(module, fx.GraphModule):
        return [1]
    graph = Graph(module, {})
    graph = graph.without_context() if carrying else graph
    counts: dict[fx.Node, list[int]] = {graph.input: [1]}
    for node in graph.order:
        if node is graph.input or node not in graph.active or operation(node) == "size_affine":
            continue
        ways = _sum(counts[source] for source in graph.inputs(node) if source in counts)
        counts[node] = [0, *ways] if graph.is_weight_layer(node) else ways
    assert isinstance(graph.output, fx.Node)
    return counts[graph.output]


def _with_held_gates(net: Decomposition) -> list[int]:
    """The ways through a network part by part, those through gates left out."""
    total = _ways(net.stem)
    for block in net:
        through = _ways(block.branch)
        if block.has_shortcut:
            through = _sum([through, _ways(block.shortcut)])
        for part in (_ways(block.before), _ways(block.pre), through, _ways(block.post)):
            total = _product(total, part)
    return _product(total, _ways(net.head))


def _product(one: list[int], other: list[int]) -> list[int]:
    total = [0] * (len(one) + len(other) - 1)
    for i, a in enumerate(one):
        for j, b in enumerate(other):
            total[i + j] += a * b
    return total


def _sum(polynomials: Iterable[list[int]]) -> list[int]:
    total: list[int] = []
    for polynomial in polynomials:
        total += [0] * (len(polynomial) - len(total))
        for power, number in enumerate(polynomial):
            total[power] += number
    return total
