"""Single operations of a graph are run on random values, to tell what they do to sums."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, fx

from ensembles.decomposition.graph import Graph
from ensembles.decomposition.guards import guarded

__all__ = ["PRODUCTS", "NodeProbe", "close", "is_nought"]

PRODUCTS = {
    "mul", "rmul", "multiply", "div", "truediv", "matmul", "bmm", "pow", "where", "maximum",
    "minimum", "scaled_dot_product_attention",
}  # fmt: skip
_SCALES = (-1.0, 1e3, 1e-3)


class NodeProbe:
    """Runs operations of a graph alone, for two rows.

    Args:
        graph: The graph.
    """

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self._runner = fx.Interpreter(graph.traced, garbage_collect_values=False)
        self._random = torch.Generator().manual_seed(0)
        self._fixed: dict[fx.Node, Any] = {}

    def drawn(self, node: fx.Node) -> Tensor:
        """A random value of a node's size and type."""
        size, dtype = self.graph.sizes[node.name].two, node.meta.get("dtype", torch.float32)
        value = torch.randn(size or (), generator=self._random, dtype=torch.float64)
        return value.to(dtype=dtype, device=self.graph.device)

    def readable(self, node: fx.Node) -> list[fx.Node]:
        """The activations that a node reads, where it and they hold real numbers; else none."""
        read = self.graph.inputs(node)
        alike = all(source in read or self._is_fixed(source) for source in node.all_input_nodes)
        known = node.op in ("call_function", "call_method", "call_module")
        apart = node.target is guarded or not known
        return [] if apart or not alike or not all(map(self.is_real, [node, *read])) else read

    def is_real(self, node: fx.Node) -> bool:
        """Whether a node's value is a tensor of real or complex numbers."""
        return bool(node.meta.get("real")) and self.graph.sizes[node.name].two is not None

    def _is_fixed(self, node: fx.Node) -> bool:
        return node not in self.graph.active and node not in self.graph.context

    def run(self, node: fx.Node, values: Mapping[fx.Node, Any]) -> Tensor | None:
        """What a node makes of values of the activations that it reads; None where it fails."""
        env = {source: self._value(source, values) for source in node.all_input_nodes}
        self._runner.env = env
        try:
            made = self._runner.run_node(node)
        except Exception:  # it may take no such values
            return None
        size = self.graph.sizes[node.name].two
        return made if isinstance(made, Tensor) and tuple(made.shape) == size else None

    def _value(self, node: fx.Node, values: Mapping[fx.Node, Any]) -> Any:
        if node in values:
            return values[node]
        if node not in self._fixed:
            if node in self.graph.active or node.op == "placeholder":  # its size alone is read
                size = self.graph.sizes[node.name].two or ()
                self._fixed[node] = torch.zeros(size, device=self.graph.device)
            else:
                env = {source: self._value(source, {}) for source in node.all_input_nodes}
                self._runner.env = env
                self._fixed[node] = self._runner.run_node(node)
        return self._fixed[node]

    def adds(self, node: fx.Node) -> bool:
        """Whether a node is a sum of functions, one of each activation that it reads.

        What only puts them side by side is none: some entry must hold several.
        """
        read = self.readable(node)
        if len(read) < 2:
            return False
        one, other = ({source: self.drawn(source) for source in read} for _ in range(2))
        nought = {source: torch.zeros_like(value) for source, value in one.items()}
        whole, rest = self.run(node, one), self.run(node, nought)
        made = [self.run(node, {**nought, source: one[source]}) for source in read]
        parts = [part for part in made if part is not None]
        if whole is None or rest is None or len(parts) < len(read):
            return False
        felt = torch.stack([~is_nought(part - rest, whole) for part in parts])
        total = sum(parts[1:], parts[0]) - (len(parts) - 1) * rest
        if not bool((felt.sum(0) > 1).any()) or not close(whole, total):
            return False
        mixed = {**one, read[0]: other[read[0]]}  # no single value that happens to fit
        again, first = self.run(node, mixed), self.run(node, {**nought, read[0]: other[read[0]]})
        if again is None or first is None:
            return False
        return close(again, total - parts[0] + first)

    def is_linear(self, node: fx.Node) -> bool:
        """Whether a node is a linear map of all activations that it reads together."""
        read = self.readable(node)
        if not read:
            return False
        one, other = ({source: self.drawn(source) for source in read} for _ in range(2))
        both = {source: one[source] + other[source] for source in read}
        made = [self.run(node, values) for values in (one, other, both)]
        first, second, total = made
        if first is None or second is None or total is None or not close(total, first + second):
            return False
        for scale in _SCALES:
            scaled = self.run(node, {source: scale * value for source, value in one.items()})
            if scaled is None or not close(scaled, scale * first):
                return False
        return True

    def responses(
        self, nodes: Sequence[fx.Node], start: fx.Node, part: fx.Node, value: Tensor
    ) -> dict[fx.Node, Tensor]:
        """What linear nodes give when of all that the first reads one part alone is not nought."""
        values: dict[fx.Node, Tensor] = {
            source: value if source is part else torch.zeros_like(self.drawn(source))
            for source in self.graph.inputs(start)
        }
        for node in nodes:
            made = self.run(node, values)
            assert made is not None
            values[node] = made
        return values


def close(one: Tensor, other: Tensor) -> bool:
    """Whether two values agree up to rounding."""
    if one.shape != other.shape or one.dtype != other.dtype or not one.numel():
        return False
    tolerance = 1e3 * torch.finfo(one.dtype).eps
    scale = float(other.abs().max())
    return scale < float("inf") and bool((one - other).abs().max() <= tolerance * scale)


def is_nought(value: Tensor, scale: Tensor) -> Tensor:
    """Where a value is nothing but rounding beside another."""
    return value.abs() <= 1e2 * torch.finfo(value.dtype).eps * scale.abs().max()
