"""Parts of a graph become modules of their own."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

import torch
from torch import fx

from ensembles.decomposition.graph import Graph
from ensembles.decomposition.junctions import is_linear, is_placing, is_proportional
from ensembles.decomposition.layouts import PLAIN
from ensembles.decomposition.simplification import (
    concat_parts,
    is_add,
    is_concat,
    is_stack,
    stack_sum,
)
from ensembles.decomposition.sizes import blank, made_beside, size_affine
from ensembles.errors import DecompositionError

__all__ = ["Cut", "concatenation", "contribution", "part", "passes_on", "several"]


def part(
    graph: Graph,
    entry: fx.Node,
    exit_: fx.Node,
    name: str,
    beside: Sequence[fx.Node] = (),
    *,
    meeting: fx.Node | None = None,
) -> fx.GraphModule:
    """Cut out what leads from one activation to another.

    Args:
        graph: The functional graph of the whole network.
        entry: The node whose value becomes the only input.
        exit_: The node whose value becomes the output.
        name: The class name of the module, seen when it is printed.
        beside: The nodes whose values it also takes, behind the first.
        meeting: The node whose layout the output has; by default the exit itself.

    Returns:
        A module of these inputs, sharing its parameters with the graph.

    Raises:
        DecompositionError: If the part needs another activation than its entry.
    """
    cut = Cut(graph, entry, beside=beside)
    return cut.module(cut.value(exit_), name, meeting or exit_)


def several(
    graph: Graph, entries: Sequence[fx.Node], exits: Sequence[fx.Node], name: str
) -> fx.GraphModule:
    """Cut out what leads from some activations to others; the module gives a tuple."""
    sized = [node for node in entries if graph.sizes[node.name].batch or node is graph.input]
    if not sized:
        raise DecompositionError(
            f"what leads to {exits[0].name} reads no tensor that tells how many rows there are"
        )
    first = sized[0]
    cut = Cut(graph, first, beside=[node for node in entries if node is not first])
    made = tuple(cut.value(node) for node in exits)
    module = cut.module(made, name)
    _order_inputs(module, [cut.placed[node] for node in entries])
    return module


def _order_inputs(module: fx.GraphModule, wanted: Sequence[fx.Node]) -> None:
    """Let a module take its inputs in an order."""
    names = [node.name for node in wanted]
    inputs = {node.name: node for node in module.graph.nodes if node.op == "placeholder"}
    for name in reversed(names):
        first = next(iter(module.graph.nodes))
        if first is not inputs[name]:
            first.prepend(inputs[name])
    module.recompile()


def concatenation(
    graph: Graph,
    entry: fx.Node,
    parts: Sequence[fx.Node],
    name: str,
    beside: Sequence[fx.Node] = (),
) -> fx.GraphModule:
    """Cut out what leads from one activation to others that are joined along the channels."""
    cut = Cut(graph, entry, beside=beside)
    ends = [cut.value(node) for node in parts]
    joined = ends[0] if len(ends) == 1 else cut.graph.call_function(torch.cat, (ends, 1))
    return cut.module(joined, name, parts[0])


def contribution(
    graph: Graph,
    entry: fx.Node,
    exit_: fx.Node,
    others: Collection[fx.Node],
    name: str,
    *,
    within: bool = False,
    beside: Sequence[fx.Node] = (),
) -> fx.GraphModule:
    """Cut out what some roads add to the node where roads meet.

    Args:
        graph: The functional graph of the whole network.
        entry: Where the roads begin.
        exit_: Where they meet.
        others: The ends of the roads that are left out, as if their values were nought.
        name: The class name of the module.
        within: Whether the roads are told apart behind layer scales and stacks too.
        beside: The nodes whose values it also takes, behind the first.
    """
    cut = Cut(graph, entry, others, is_proportional if within else is_linear, beside)
    end = cut.linear(exit_)
    assert end is not None
    return cut.module(end, name, exit_)


def passes_on(
    graph: Graph,
    entry: fx.Node,
    exit_: fx.Node,
    others: Collection[fx.Node],
    beside: Sequence[fx.Node] = (),
) -> bool:
    """Whether all that some roads add is the entry itself; see :func:`contribution`."""
    cut = Cut(graph, entry, others, beside=beside)
    return cut.linear(exit_) is cut.placed[entry]


class Cut:
    """A graph that grows backwards from what it is to compute."""

    def __init__(
        self,
        graph: Graph,
        entry: fx.Node,
        others: Collection[fx.Node] = (),
        is_linear: Callable[[Graph, fx.Node], bool] = is_linear,
        beside: Sequence[fx.Node] = (),
    ) -> None:
        self.source, self.entry, self.others = graph, entry, frozenset(others)
        self.is_linear = is_linear
        self.graph = fx.Graph()
        self.placed = {entry: self.graph.placeholder("x")}
        for place, node in enumerate(beside):
            self.placed[node] = self.graph.placeholder(f"beside_{place}")
        self.beside = frozenset(beside)
        sample = graph.sample if entry is graph.input else entry
        if sample not in self.placed:
            self.placed[sample] = self.graph.node_copy(sample, self.placed.__getitem__)
        self.sample = self.placed[sample]
        self._linear: dict[fx.Node, fx.Node | None] = {}
        batch = graph.sizes[sample.name].batch
        assert batch is not None
        self.batch = batch

    def module(
        self, end: fx.Node | tuple[fx.Node, ...], name: str, exit_: fx.Node | None = None
    ) -> fx.GraphModule:
        """Close the graph.

        Args:
            end: What it computes.
            name: The class name of the module.
            exit_: The node of the network whose layout the result has; images first by default.
        """
        self.graph.output(end)
        made = fx.GraphModule(self.source.traced, self.graph, name).eval()
        after = PLAIN if exit_ is None else self.source.layout(exit_)
        layouts = self.source.layout(self.entry), after
        if layouts != (PLAIN, PLAIN) and not self.beside:
            made.meta["layouts"] = layouts
        return made

    def value(self, end: fx.Node) -> fx.Node:
        """Place a node and all that it needs."""
        for node in self._needed(end):
            if node.target is size_affine:
                args = (self.sample, *self.batch, *node.args[3:])
                self.placed[node] = self.graph.call_function(size_affine, args)
            elif node.target is made_beside:
                placed = {**self.placed, self.source.sample: self.sample}
                self.placed[node] = self.graph.node_copy(node, placed.__getitem__)
            else:
                self.placed[node] = self.graph.node_copy(node, self.placed.__getitem__)
        return self.placed[end]

    def linear(self, node: fx.Node) -> fx.Node | None:
        """Place what the roads that are kept add to a linear node; None where they add nothing."""
        if node not in self._linear:
            self._linear[node] = self._contribution(node)
        return self._linear[node]

    def _contribution(self, node: fx.Node) -> fx.Node | None:
        if node in self.others or (node in self.beside and self._is_left_out(node)):
            return None
        if node is self.entry or node in self.beside or not self.is_linear(self.source, node):
            return self.value(node)
        if is_concat(node) or is_stack(node):
            return self._side_by_side(node)
        kept = {source: self.linear(source) for source in self.source.inputs(node)}
        left = [placed for placed in kept.values() if placed is not None]
        if is_add(node) and len(left) == 1 and not _doubles(node):
            return self._in_type_of(node, kept)
        if not left:
            return None
        for source, placed in kept.items() if is_placing(node) else ():
            kept[source] = placed or self._blank(source)
        for source in node.all_input_nodes:
            if source not in kept:
                kept[source] = self.value(source)
        return self.graph.node_copy(node, lambda n: kept[n] or self.placed[n])

    def _is_left_out(self, node: fx.Node) -> bool:
        """Whether a sum that is made elsewhere holds nothing but what is left out."""
        if node in self.others:
            return True
        if node is self.entry or not self.is_linear(self.source, node):
            return False
        return all(self._is_left_out(source) for source in self.source.inputs(node))

    def _in_type_of(self, node: fx.Node, kept: dict[fx.Node, fx.Node | None]) -> fx.Node:
        """The one summand that is left, in the type of the sum (real beside a complex one)."""
        ((source, placed),) = ((old, new) for old, new in kept.items() if new is not None)
        own, whole = source.meta.get("dtype"), node.meta.get("dtype")
        return placed if own == whole else self.graph.call_method("to", (placed, whole))

    def _side_by_side(self, node: fx.Node) -> fx.Node | None:
        """A concatenation or a stack, with zeros in the place of what is left out.

        A stack of which sums alone are taken needs none.
        """
        parts, dim = concat_parts(node)
        kept = [(part, self.linear(part)) for part in parts]
        left = [placed for _, placed in kept if placed is not None]
        if not left:
            return None
        if not (is_stack(node) and all(stack_sum(user) for user in node.users)):
            left = [placed or self._blank(part) for part, placed in kept]
        function = torch.cat if is_concat(node) else torch.stack
        return self.graph.call_function(function, (left, dim))

    def _blank(self, node: fx.Node) -> fx.Node:
        sizes = self.source.sizes[node.name]
        x = self.sample
        return self.graph.call_function(blank, (x, self.batch, sizes.batch, *sizes.rest))

    def _needed(self, end: fx.Node) -> list[fx.Node]:
        """What must be placed before an end and has not been, in order."""
        found: set[fx.Node] = set()
        open_nodes = [end]
        while open_nodes:
            node = open_nodes.pop()
            if node in found or node in self.placed:
                continue
            if node is self.source.input:
                raise DecompositionError(
                    f"the part from {self.entry.name} to {end.name} also reads the images; "
                    "expected one entry"
                )
            found.add(node)
            anchor = self.source.sample if node.meta.get("anchored") else None
            open_nodes.extend(n for n in node.all_input_nodes if n is not anchor)
        return sorted(found, key=self.source.order.__getitem__)


def _doubles(node: fx.Node) -> bool:
    """Whether a sum adds a value to itself."""
    return len(node.args) == 2 and node.args[0] is node.args[1]
