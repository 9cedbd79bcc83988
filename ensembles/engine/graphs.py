"""What a block computes, whole or in part, as one graph of its own."""

from __future__ import annotations

import operator
from collections.abc import Callable, Collection, Sequence
from typing import Any

from torch import fx, nn

from ensembles.decomposition import Block
from ensembles.decomposition.writer import Written

__all__ = ["ALIKE", "Graph", "block_graph", "bypass_graph", "part_graph", "without_graph"]

ALIKE = "alike"
"""Marks, in the `meta` of a node, a sum of two values of one shape."""


class Graph(fx.GraphModule):
    """A graph that is compiled when it is complete, or first run: most of its cost is that."""

    def recompile(self) -> Any:
        """Compile it later."""
        type(self).forward = _compiled_first

    def compile_whole(self) -> None:
        """Compile it now."""
        fx.GraphModule.recompile(self)


def _compiled_first(self: Graph, *given: Any) -> Any:
    self.compile_whole()
    return self.forward(*given)


def block_graph(block: Block) -> Graph:
    """A whole block."""
    writer = _GraphWriter(block, block.reads)
    return writer.module(block.write(writer, writer.x, writer.beside))


def bypass_graph(block: Block) -> Graph | None:
    """A block without its branch; None where nothing is left to do."""
    writer = _GraphWriter(block, block.reads)
    end = block.write_bypass(writer, writer.x, writer.beside)
    return None if end is writer.x else writer.module(end)


def without_graph(block: Block, roads: Collection[int]) -> Graph:
    """A block without some of the branches that meet in it, numbered from 1."""
    writer = _GraphWriter(block, block.reads)
    return writer.module(block.write_without(writer, writer.x, roads, writer.beside))


def part_graph(part: nn.Module) -> nn.Module:
    """A stem, a head or what stands between blocks; as it is, where it is no graph."""
    if not isinstance(part, fx.GraphModule):
        return part
    writer = _GraphWriter(part)
    return writer.module(writer.part(part, "", writer.x))


class _GraphWriter:
    """Takes down what a module computes as a graph, with its parts inlined."""

    def __init__(self, root: nn.Module, reads: Sequence[str] = ()) -> None:
        self.root = root
        self.graph = fx.Graph()
        self.x = self.graph.placeholder("x")
        self.beside = [self.graph.placeholder(f"beside_{place}") for place in range(len(reads))]

    def part(
        self, module: nn.Module | None, name: str, x: fx.Node, beside: Sequence[fx.Node] = ()
    ) -> fx.Node:
        """Inline a part; what is no graph is called."""
        if module is None:
            return x
        if isinstance(module, Written):
            return module.write(self, name, x, beside)
        if isinstance(module, fx.GraphModule):
            return self._inlined(module, name, (x, *beside))
        if type(module) is nn.Sequential:
            for place, inner in enumerate(module):
                x = self.part(inner, f"{name}.{place}", x)
            return x
        return self.graph.call_module(name, (x, *beside))

    def add(self, made: fx.Node, other: fx.Node, *, alike: bool = False) -> fx.Node:
        """Add, and mark the sum where both values have one shape."""
        node = self.call(operator.add, made, other)
        node.meta[ALIKE] = alike
        return node

    def call(self, function: Callable[..., Any], *args: Any) -> fx.Node:
        """Call a function."""
        return self.graph.call_function(function, args)

    def module(self, end: fx.Node) -> Graph:
        """What was written; it shares the weights of what it was written from."""
        self.graph.output(end)
        module = Graph(self.root, self.graph, "Graph")
        if module.graph.eliminate_dead_code():
            module.delete_all_unused_submodules()
        return module

    def _inlined(self, part: fx.GraphModule, name: str, given: Sequence[fx.Node]) -> fx.Node:
        """Copy the nodes of a part."""
        placed: dict[fx.Node, fx.Node] = {}
        left = list(given)
        for node in part.graph.nodes:
            if node.op == "placeholder":
                placed[node] = left.pop(0)
            elif node.op == "output":
                end = node.args[0]
                assert isinstance(end, fx.Node)
                return placed[end]
            else:
                placed[node] = self.graph.node_copy(node, placed.__getitem__)
                if node.op in ("call_module", "get_attr") and name:
                    placed[node].target = f"{name}.{node.target}"
        raise AssertionError("a graph without output")
