"""Sums that are written into a recorded graph."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from functools import reduce
from typing import Any

import torch
from torch import fx

from ensembles.decomposition.factories import Factories
from ensembles.decomposition.simplification import concat_parts, is_concat, is_stack, operation
from ensembles.decomposition.sizes import Sizes

__all__ = ["SumWriter"]

_RESHAPES = ("reshape", "view", "unflatten")


class SumWriter:
    """Writes sums into a recorded graph, and reads what was stacked.

    Args:
        graph: The graph.
        sizes: Shapes of its values by node name; those of new nodes are entered.
    """

    def __init__(self, graph: fx.Graph, sizes: dict[str, Sizes]) -> None:
        self.graph, self.sizes = graph, sizes
        self.factories = Factories(graph, sizes)
        self.node = next(iter(graph.nodes))
        self.active = {node for node in graph.nodes if node.op == "placeholder"}
        for node in graph.nodes:
            self.enter(node)

    def enter(self, node: fx.Node) -> None:
        """Take note whether a new node is an activation."""
        follows = any(source in self.active for source in node.all_input_nodes)
        if follows and node.op != "output" and not node.meta.get("anchored"):
            self.active.add(node)

    # What is written

    def call(self, function: Any, *args: Any, like: Sizes | None = None) -> fx.Node:
        """A new node, of the size of what it reads, broadcast, unless another is given."""
        made = self.graph.call_function(function, args)
        made.meta = dict(self.node.meta)
        self.sizes[made.name] = like or self._broadcast(made.all_input_nodes)
        self.enter(made)
        return made

    def _broadcast(self, nodes: Sequence[fx.Node]) -> Sizes:
        each = [self.sizes[node.name] for node in nodes]
        return Sizes(
            _broadcast([size.two or () for size in each]),
            _broadcast([size.three or () for size in each]),
        )

    def scaled(self, node: Any, factor: Any) -> Any:
        """A node times a factor."""
        if isinstance(factor, (int, float)) and factor == 1:
            return node
        if isinstance(factor, (int, float)) and factor == -1:
            return self.call(torch.neg, node)
        return self.call(operator.mul, node, factor)

    def total(self, parts: Sequence[Any]) -> fx.Node:
        """The sum of several nodes."""
        made: fx.Node = reduce(lambda one, other: self.call(operator.add, one, other), parts)
        return made

    # What is read

    def both(self, *nodes: Any) -> bool:
        """Whether all are activations."""
        return all(isinstance(node, fx.Node) and node in self.active for node in nodes)

    def fixed(self, node: Any) -> bool:
        """Whether it is a number, or a tensor that does not depend on the images."""
        if isinstance(node, fx.Node):
            known = self.sizes.get(node.name)  # of a size that follows the images there is none
            return node not in self.active and known is not None and known.two is not None
        return isinstance(node, (int, float))

    def rank(self, node: fx.Node) -> int:
        """The number of dimensions."""
        return len(self.sizes[node.name].two or ())

    def stack(self, node: Any) -> tuple[list[fx.Node], int] | None:
        """What was stacked to give a node, two activations or more, and along which dimension.

        A concatenation of parts of length 1 is a stack too, and so is one that is split again.
        """
        if not isinstance(node, fx.Node) or self.sizes[node.name].two is None:
            return None
        if is_stack(node):
            parts = node.args[0] if node.args else node.kwargs.get("tensors")
            dim = node.args[1] if len(node.args) > 1 else node.kwargs.get("dim", 0)
            return self._stacked(parts, dim, self.rank(node))
        if is_concat(node):
            parts, dim = concat_parts(node)
            dim %= self.rank(node)
            if not all((self.sizes[part.name].two or ())[dim : dim + 1] == (1,) for part in parts):
                return None
            bare = [self._squeezed(part, dim) for part in parts] if self.both(*parts) else parts
            return self._stacked(bare, dim, self.rank(node))
        return self._split(node)

    def _stacked(self, parts: Any, dim: Any, rank: int) -> tuple[list[fx.Node], int] | None:
        several = isinstance(parts, (list, tuple)) and len({*parts}) > 1  # not one, repeated
        alike = several and self.both(*parts)
        return ([*parts], dim % rank) if alike and isinstance(dim, int) else None

    def _squeezed(self, part: fx.Node, dim: int) -> fx.Node:
        size = self.sizes[part.name]
        two, three = ((*s[:dim], *s[dim + 1 :]) for s in (size.two or (), size.three or ()))
        return self.call(torch.squeeze, part, dim, like=Sizes(two, three))

    def _split(self, node: fx.Node) -> tuple[list[fx.Node], int] | None:
        """A concatenation of equal parts whose dimension is split into the parts again."""
        joined = node.args[0] if node.args else None
        if operation(node) not in _RESHAPES or not isinstance(joined, fx.Node):
            return None
        if not is_concat(joined):
            return None
        parts, dim = concat_parts(joined)
        dim %= self.rank(joined)
        size = self.sizes[parts[0].name]
        if not all(self.sizes[part.name] == size for part in parts):
            return None
        whole_size = self.sizes[node.name]
        for whole, part in ((whole_size.two, size.two), (whole_size.three, size.three)):
            if part is None or whole != (*part[:dim], len(parts), *part[dim:]):
                return None
        return self._stacked(parts, dim, self.rank(node))


def _broadcast(shapes: Sequence[tuple[int, ...]]) -> tuple[int, ...]:
    """The shape of what is computed of tensors, elementwise."""
    rank = max(map(len, shapes), default=0)
    full = [(1,) * (rank - len(shape)) + shape for shape in shapes]
    return tuple(
        next((size for size in sizes if size != 1), 1) for sizes in zip(*full, strict=True)
    )
