"""The roads between two tensors: which of them are added, which concatenated, which is shorter.

From the tensor where roads meet one can go back through additions, concatenations and mere
rearrangements, which are linear and have no weights. What is reached first that is neither, or the
entry itself, ends a road. The meeting tensor is then a sum of one contribution for each road.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from torch import fx, nn

from ensembles.decomposition.graph import Graph
from ensembles.decomposition.pure_forms import assigned
from ensembles.decomposition.simplification import (
    concat_parts,
    is_add,
    is_concat,
    is_stack,
    operation,
    stack_sum,
)

__all__ = ["Meeting", "Road", "addends", "is_linear", "is_placing", "is_proportional", "meeting"]

_REARRANGING = {
    "chunk", "contiguous", "flatten", "getitem", "moveaxis", "movedim", "narrow", "permute",
    "reshape", "roll", "select", "split", "squeeze", "swapaxes", "swapdims", "tensor_split",
    "transpose", "unbind", "unflatten", "unsqueeze", "view",
}  # fmt: skip
_REARRANGING_MODULES = (nn.ChannelShuffle, nn.Flatten, nn.PixelShuffle, nn.PixelUnshuffle)


@dataclass(frozen=True)
class Road:
    """One way from the entry to where roads meet.

    Attributes:
        ends: The nodes that end it; several where they share what lies before them.
        layers: How many weight layers it has.
        weighted: How many operations with parameters it has.
        nodes: How many operations it has.
        whole: Whether it reads the whole entry, not only some of its channels.
        place: Where it stands among the roads, from left to right.
    """

    ends: tuple[fx.Node, ...]
    layers: int
    weighted: int
    nodes: int
    whole: bool = True
    place: int = 0

    @property
    def cost(self) -> tuple[int, bool, int, int]:
        """What the shortcut has less of than the branch."""
        return self.layers, self.whole, self.weighted, self.nodes


@dataclass(frozen=True)
class Meeting:
    """Where roads meet.

    Attributes:
        roads: The roads, cheapest first.
        added: Whether the first road is added to another one.
        aligned: Whether all that is added has one shape.
    """

    roads: tuple[Road, ...]
    added: bool
    aligned: bool


def meeting(graph: Graph, entry: fx.Node, exit_: fx.Node) -> Meeting:
    """Find the roads that meet in a node.

    Args:
        graph: The graph.
        entry: Where all roads begin.
        exit_: The sum or concatenation where they meet.
    """
    hull, ends = _hull(graph, entry, exit_)
    roads = sorted(_roads(graph, entry, ends), key=lambda road: road.cost)
    first = set(roads[0].ends) if roads else set()
    reach: dict[fx.Node, set[fx.Node]] = {end: {end} for end in ends}
    added = False
    for node in sorted(hull, key=graph.order.__getitem__):
        sides = [reach.get(source, set()) for source in graph.inputs(node)]
        reach[node] = set().union(*sides)
        if is_add(node) and len(sides) == 2:
            added |= any(a & first and b - first for a, b in (sides, sides[::-1]))
    aligned = all(
        graph.sizes[source.name] == graph.sizes[node.name]
        for node in hull
        if is_add(node)
        for source in graph.inputs(node)
    )
    return Meeting(tuple(roads), added, aligned)


def is_linear(graph: Graph, node: fx.Node) -> bool:
    """Whether a node only adds, concatenates or rearranges activations."""
    inputs = graph.inputs(node)
    if is_add(node):
        numbers = [arg for arg in node.args if not isinstance(arg, fx.Node)]
        alone = len(node.all_input_nodes) == len(inputs) and len(node.args) == 2
        return alone and numbers in ([], [0])  # Python's sum begins with 0
    if is_concat(node):
        return all(part in graph.active for part in concat_parts(node)[0])
    if is_stack(node):
        return len(inputs) == len(node.all_input_nodes)
    if node.op == "call_module":
        return isinstance(graph.traced.get_submodule(str(node.target)), _REARRANGING_MODULES)
    chosen = any(source in graph.context for source in node.all_input_nodes)
    if is_placing(node):
        return len(inputs) > 1 and not chosen
    return len(inputs) == 1 and operation(node) in _REARRANGING and not chosen


def is_placing(node: fx.Node) -> bool:
    """Whether a node puts activations side by side in one tensor, as an assignment to a part."""
    return node.target is assigned or bool(node.meta.get("placing"))


def is_proportional(graph: Graph, node: fx.Node) -> bool:
    """Whether a node is linear in its activations, products with weights and sums over a stack too.

    What is added before a layer scale, or stacked to be summed, can be told apart behind it.
    """
    inputs = graph.inputs(node)
    if operation(node) in ("mul", "rmul") and len(inputs) == 1:
        return len(node.args) == 2 and not node.kwargs and _is_in(inputs[0], node.args)
    if is_stack(node):
        return all(stack_sum(user) for user in node.users)
    return stack_sum(node) or is_linear(graph, node)


def _is_in(node: fx.Node, args: Sequence[Any]) -> bool:
    """Whether a node is an argument, once."""
    return sum(arg is node for arg in args) == 1


def addends(
    graph: Graph, entry: fx.Node, exit_: fx.Node, others: Collection[fx.Node]
) -> tuple[fx.Node, ...]:
    """The branches that one road adds up, such as attention and MLP that read one norm.

    Args:
        graph: The graph.
        entry: Where all roads begin.
        exit_: The sum where they meet.
        others: The ends of the other roads.

    Returns:
        The node that ends each, from left to right; none where there are fewer than two, something
        is concatenated, or one has no operation of its own.
    """
    found: list[fx.Node] = []
    seen: set[fx.Node] = set()
    open_nodes = [exit_]
    while open_nodes:
        node = open_nodes.pop()
        if node in seen or node in others:
            continue
        seen.add(node)
        if is_concat(node):
            return ()
        opaque = node is not exit_ and node.meta.get("difference")  # within one branch
        if node is entry or opaque or not is_proportional(graph, node):
            found.append(node)
        else:
            open_nodes.extend(reversed(graph.inputs(node)))
    cones = [graph.cone(end, entry) for end in found]
    own = (cone.difference(*(c for c in cones if c is not cone)) for cone in cones)
    return tuple(found) if len(found) > 1 and all(own) else ()


def _hull(graph: Graph, entry: fx.Node, exit_: fx.Node) -> tuple[set[fx.Node], list[fx.Node]]:
    """The linear nodes before an exit, and the nodes where they begin."""
    hull: set[fx.Node] = set()
    ends: list[fx.Node] = []
    open_nodes = [exit_]
    while open_nodes:
        node = open_nodes.pop()
        if node in hull or node in ends:
            continue
        if node is entry or not is_linear(graph, node):
            ends.append(node)
        else:
            hull.add(node)
            open_nodes.extend(reversed(graph.inputs(node)))
    return hull, ends


def _roads(graph: Graph, entry: fx.Node, ends: Sequence[fx.Node]) -> Iterator[Road]:
    """Gather ends that share operations into roads."""
    groups: list[tuple[list[fx.Node], set[fx.Node]]] = []
    views = _views(graph, entry)
    for end in ends:
        cone = graph.cone(end, entry) - views
        together = [end]
        for group in [g for g in groups if g[1] & cone]:
            groups.remove(group)
            together, cone = together + group[0], cone | group[1]
        groups.append((together, cone))
    for group_ends, cone in groups:
        layers = sum(graph.is_weight_layer(node) for node in cone)
        weighted = sum(bool(graph.weights(node)) for node in cone)
        place = min(map(ends.index, group_ends))
        whole = _reads_all(graph, entry, views, group_ends, cone)
        yield Road(tuple(group_ends), layers, weighted, len(cone), whole, place)


def _reads_all(
    graph: Graph,
    entry: fx.Node,
    views: set[fx.Node],
    ends: Iterable[fx.Node],
    cone: Iterable[fx.Node],
) -> bool:
    """Whether a road reads a view of the entry with all of its channels."""
    read = {source for node in cone for source in graph.inputs(node)}
    seen = (read | set(ends)) & views
    return any(_channels(graph, view) == _channels(graph, entry) for view in seen)


def _channels(graph: Graph, node: fx.Node) -> int:
    """Channels of images and volumes; series and tokens have none to tell apart."""
    rest = graph.sizes[node.name].rest
    return rest[0] if len(rest) > 2 else 0


def _views(graph: Graph, entry: fx.Node) -> set[fx.Node]:
    """What only rearranges the entry."""
    found = {entry}
    open_nodes = [entry]
    while open_nodes:
        for user in open_nodes.pop().users:
            single = user in graph.active and len(graph.inputs(user)) == 1
            if user not in found and single and is_linear(graph, user):
                found.add(user)
                open_nodes.append(user)
    return found
