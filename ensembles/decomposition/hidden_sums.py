"""Sums of activations are found by what operations compute, whatever they are called.

An operation that is a sum of functions of the activations that it reads (``index_add``, a library's
own), and a linear map of what was put side by side before (a cumulative sum over a stack, the real
and the imaginary part of a complex number), are written as additions of what each activation gives.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from functools import reduce
from typing import Any

import torch
from torch import Tensor, fx

from ensembles.decomposition.factories import Factories
from ensembles.decomposition.graph import Graph
from ensembles.decomposition.guards import guarded
from ensembles.decomposition.node_probe import PRODUCTS, NodeProbe, close, is_nought
from ensembles.decomposition.pure_forms import assigned
from ensembles.decomposition.simplification import average, is_add, is_concat, is_stack, operation

__all__ = ["write_hidden_sums"]


def write_hidden_sums(graph: Graph) -> Graph:
    """Rewrite the sums of a graph that are spelled otherwise; what it computes stays the same.

    Args:
        graph: A simplified graph.

    Returns:
        The graph itself where there are none.
    """
    given = graph
    for start in list(graph.order):
        if start in graph.order and _joins(graph, start) and _written(graph, start):
            graph.traced.graph.eliminate_dead_code()
            graph = Graph(graph.traced, graph.sizes, graph.context)
    if graph is not given:
        graph.traced.graph.lint()
        graph.traced.recompile()
    return graph


def _written(graph: Graph, start: fx.Node) -> bool:
    """Rewrite what follows from a node that puts activations together; whether there was any."""
    probe, changed = NodeProbe(graph), False
    if _is_sum(graph, probe, start):
        return _Sum(graph, probe, [start], start).write()
    region = _region(graph, probe, start)
    if len(region) and not is_concat(start) and not is_stack(start):
        start.meta["placing"] = True
    alone = _leads_nowhere_else(graph, region)
    for end in _ends(graph, region):
        changed |= _Sum(graph, probe, region, end).write(alone=alone)
    return changed


def _ends(graph: Graph, region: Sequence[fx.Node]) -> list[fx.Node]:
    """The sums of what was put together; of those in one line (a reshaped one) the last."""
    found = [end for end in region[1:] if _is_like_a_part(graph, region[0], end)]
    return [end for end in found if not _goes_on(end, region, found)]


def _goes_on(end: fx.Node, region: Sequence[fx.Node], ends: Sequence[fx.Node]) -> bool:
    while len(end.users) == 1:
        (end,) = end.users
        if end not in region:
            return False
        if end in ends:
            return True
    return False


def _leads_nowhere_else(graph: Graph, region: Sequence[fx.Node]) -> bool:
    """Whether what was put together is read through its parts and their sums alone."""
    ends = _ends(graph, region)
    after = {node for node in region if any(graph.depends(node, end) for end in ends)}
    return all(
        user in region
        for node in region
        if node not in ends and node not in after
        for user in node.users
    )


def _joins(graph: Graph, node: fx.Node) -> bool:
    """Whether a node may put several activations together by a sum, or side by side."""
    if node not in graph.active or node.target in (average, guarded, assigned) or is_add(node):
        return False
    several = len(graph.inputs(node)) > 1 and operation(node) not in PRODUCTS
    return several and not graph.is_weight_layer(node)


def _is_like_a_part(graph: Graph, start: fx.Node, end: fx.Node) -> bool:
    """Whether a value has the size of one of those that were put together, and is real as it is."""
    if not end.meta.get("real"):
        return False
    return any(
        _counts(graph, part) == _counts(graph, end)
        and part.meta["dtype"].is_complex == end.meta["dtype"].is_complex
        for part in graph.inputs(start)
        if part.meta.get("real")
    )


def _counts(graph: Graph, node: fx.Node) -> tuple[int, int]:
    """How many numbers a value holds, for two rows and for three."""
    size = graph.sizes[node.name]
    return math.prod(size.two or ()), math.prod(size.three or ())


def _is_sum(graph: Graph, probe: NodeProbe, node: fx.Node) -> bool:
    """Whether a node adds what it reads, of the size of what it gives."""
    if is_concat(node) or is_stack(node) or not _is_like_a_part(graph, node, node):
        return False
    return probe.adds(node)


def _region(graph: Graph, probe: NodeProbe, start: fx.Node) -> list[fx.Node]:
    """An operation that puts activations side by side, and what maps them linearly after it."""
    if not (is_concat(start) or is_stack(start) or probe.is_linear(start)):
        return []
    found, waiting = [start], set(start.users)
    while waiting:
        node = min(waiting, key=graph.order.__getitem__)
        waiting.remove(node)
        read = graph.inputs(node) if node in graph.active else []
        if not read or not all(source in found for source in read) or is_add(node):
            continue
        known = node.target in (average, guarded) or graph.kind(node) != "other"
        if not known and probe.is_linear(node):
            found.append(node)
            waiting |= {*node.users}
    return found


class _Sum:
    """A linear map of several activations, which becomes a sum of what each gives.

    Args:
        graph: The graph.
        probe: Runs its operations.
        region: The operations, from the one that reads the activations.
        end: The one that gives the sum.
    """

    def __init__(
        self, graph: Graph, probe: NodeProbe, region: Sequence[fx.Node], end: fx.Node
    ) -> None:
        self.graph, self.probe, self.end = graph, probe, end
        self.start = region[0]
        self.chain = [node for node in region if node is end or graph.depends(end, node)]
        self.parts = graph.inputs(self.start)
        self.factories = Factories(graph.traced.graph, graph.sizes)

    def write(self, *, alone: bool = False) -> bool:
        """Write the sum, where the parts meet in it and are not only beside each other.

        Args:
            alone: Whether a single part that is read again is written as itself.
        """
        drawn = {part: self.probe.drawn(part) for part in self.parts}
        given = {part: self._response(part, drawn[part]) for part in self.parts}
        scale = torch.stack([value.abs().max() for value in given.values()])
        felt = torch.stack([~is_nought(value, scale) for value in given.values()])
        kept = [part for part, some in zip(self.parts, felt, strict=True) if bool(some.any())]
        same = alone and len(kept) == 1 and close(given[kept[0]], drawn[kept[0]])
        if not same and not bool((felt.sum(0) > 1).any()):
            return False
        with self.graph.traced.graph.inserting_before(self.end):
            terms = [self._term(part, drawn[part], given[part]) for part in kept]
            total = reduce(lambda one, other: self._call(operator.add, one, other), terms)
        for user in list(self.end.users):
            user.replace_input_with(self.end, total)
        return True

    def _response(self, part: fx.Node, value: Tensor) -> Tensor:
        return self.probe.responses(self.chain, self.start, part, value)[self.end]

    def _term(self, part: fx.Node, drawn: Tensor, given: Tensor) -> Any:
        """What one activation adds: itself, so many times it, or what the operations make of it."""
        fixed = not any(self.graph.weights(node) for node in self.chain)
        if fixed and drawn.dtype == given.dtype and drawn.numel() == given.numel():
            place = int(drawn.abs().argmax())
            ratio = float(given.flatten()[place] / drawn.flatten()[place])
            factor, eps = round(ratio, 4), torch.finfo(given.dtype).eps
            exact = abs(ratio - factor) <= 8 * eps * abs(ratio)  # 1/3 is no short number
            if factor and exact and close(given, factor * drawn.reshape(given.shape)):
                same = part if drawn.shape == given.shape else self._reshaped(part)
                return same if factor == 1 else self._call(operator.mul, same, factor)
        made: dict[fx.Node, fx.Node] = {
            other: part if other is part else self.factories.made(other) for other in self.parts
        }
        for node in self.chain:
            made[node] = self._copied(node, made)
        return made[self.end]

    def _copied(self, node: fx.Node, made: dict[fx.Node, fx.Node]) -> fx.Node:
        copied = self.graph.traced.graph.node_copy(node, lambda source: made.get(source, source))
        copied.meta = dict(node.meta)
        self.graph.sizes[copied.name] = self.graph.sizes[node.name]
        return copied

    def _reshaped(self, part: fx.Node) -> fx.Node:
        lengths = self.factories.lengths(self.end)
        node = self.graph.traced.graph.call_method("reshape", (part, lengths))
        node.meta = dict(self.end.meta)
        self.graph.sizes[node.name] = self.graph.sizes[self.end.name]
        return node

    def _call(self, function: Any, *args: Any) -> fx.Node:
        node = self.graph.traced.graph.call_function(function, args)
        node.meta = dict(self.end.meta)
        self.graph.sizes[node.name] = self.graph.sizes[self.end.name]
        return node
