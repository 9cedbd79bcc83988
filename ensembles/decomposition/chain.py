"""The dominator chain: the tensors that every path of a network passes through.

The immediate dominators of the output, followed back to the input, cut the graph into
single-entry, single-exit segments (Lengauer and Tarjan 1979; networkx computes them).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import networkx as nx
from torch import Tensor, fx, nn

from ensembles.decomposition.rewriting import Sizes, concat_parts, is_add, is_concat
from ensembles.decomposition.tracing import scope_of
from ensembles.errors import DecompositionError

__all__ = ["Graph", "Segment", "common_scope"]

_NORMS = ("batch_norm", "layer_norm", "group_norm", "instance_norm", "rms_norm", "normalize")
_POINTWISE = (
    "relu", "relu6", "elu", "selu", "celu", "gelu", "silu", "mish", "leaky_relu", "sigmoid",
    "tanh", "hardswish", "hardtanh", "hardsigmoid", "softplus", "logsigmoid", "prelu", "clamp",
)  # fmt: skip
_ARITHMETIC = ("add", "sub", "mul", "div", "truediv", "cat", "concat", "concatenate", "stack")


@dataclass(frozen=True)
class Segment:
    """What lies between two neighbours of the dominator chain.

    Attributes:
        entry: The node whose value enters.
        exit: The node whose value leaves.
        kind: "residual", "dense", "parallel", "composite", "weight", "norm", "activation", "other".
        shortcut: The node that ends the shortcut (the entry itself for the identity); residual and
            dense segments only.
        branches: The nodes that end the other roads.
    """

    entry: fx.Node
    exit: fx.Node
    kind: str
    shortcut: fx.Node | None = None
    branches: tuple[fx.Node, ...] = ()


class Graph:
    """A functional graph with the questions that the decomposition asks of it."""

    def __init__(self, traced: fx.GraphModule, sizes: dict[str, Sizes]) -> None:
        self.traced = traced
        self.sizes = sizes
        nodes = list(traced.graph.nodes)
        self.order = {node: i for i, node in enumerate(nodes)}
        self.input = next(node for node in nodes if node.op == "placeholder")
        ends = [node for node in nodes if node.op == "output"]
        self.output = ends[0].args[0]
        if not isinstance(self.output, fx.Node):
            raise DecompositionError("the model returns a constant; expected logits")

    @cached_property
    def active(self) -> set[fx.Node]:
        """The nodes whose value depends on the images."""
        found = {self.input}
        for node in self.order:
            if node.op == "output" or node.meta.get("batch_size"):
                continue
            if any(source in found for source in node.all_input_nodes):
                found.add(node)
        return found

    def inputs(self, node: fx.Node) -> list[fx.Node]:
        """The nodes that bring activations into a node, each once."""
        return [source for source in node.all_input_nodes if source in self.active]

    def weights(self, node: fx.Node) -> list[Tensor]:
        """The parameters that a node uses directly."""
        if node.op == "call_module":
            return list(self.traced.get_submodule(str(node.target)).parameters())
        found = []
        for source in node.all_input_nodes:
            if source.op == "get_attr":
                value = _attribute(self.traced, str(source.target))
                if isinstance(value, nn.Parameter):
                    found.append(value)
        return found

    def is_weight_layer(self, node: fx.Node) -> bool:
        """Whether a node is a convolution, a linear layer or attention: a weight with a matrix."""
        if self._operation(node) in _ARITHMETIC:
            return False
        return any(sum(size > 1 for size in weight.shape) >= 2 for weight in self.weights(node))

    def kind(self, node: fx.Node) -> str:
        """What a single operation is: "weight", "norm", "activation" or "other"."""
        if self.is_weight_layer(node):
            return "weight"
        name = self._operation(node)
        if any(part in name for part in _NORMS):
            return "norm"
        return "activation" if name in _POINTWISE else "other"

    def _operation(self, node: fx.Node) -> str:
        if node.op == "call_module":
            module = self.traced.get_submodule(str(node.target))
            name = type(module).__name__.lower()
            if "norm" in name:
                return "batch_norm"
            return {"leakyrelu": "leaky_relu", "frozenbatchnorm2d": "batch_norm"}.get(name, name)
        name = getattr(node.target, "__name__", str(node.target)).partition(".")[0]
        return name.rstrip("_")

    @cached_property
    def chain(self) -> list[fx.Node]:
        """The tensors that every path passes through, from the input to the logits."""
        graph: nx.DiGraph = nx.DiGraph()
        graph.add_node(self.input)
        for node in self.order:
            if node in self.active:
                graph.add_edges_from((source, node) for source in self.inputs(node))
        if self.output not in graph:
            raise DecompositionError("the logits do not depend on the images")
        dominators = nx.immediate_dominators(graph, self.input)
        found = [self.output]
        while found[-1] is not self.input:
            found.append(dominators[found[-1]])
        return [node for node in reversed(found) if self.sizes[node.name].batch is not None]

    def cone(self, end: fx.Node, entry: fx.Node) -> set[fx.Node]:
        """The activations between an entry and an end: the end, not the entry."""
        found: set[fx.Node] = set()
        open_nodes = [end]
        while open_nodes:
            node = open_nodes.pop()
            if node is entry or node in found:
                continue
            found.add(node)
            open_nodes.extend(self.inputs(node))
        return found

    def segments(self) -> list[Segment]:
        """The chain, cut and classified, from the input to the logits."""
        pairs = zip(self.chain, self.chain[1:], strict=False)
        return [self._classify(entry, exit_) for entry, exit_ in pairs]

    def _classify(self, entry: fx.Node, exit_: fx.Node) -> Segment:
        inside = self.cone(exit_, entry)
        if len(inside) == 1 and not (is_add(exit_) or is_concat(exit_)):
            return Segment(entry, exit_, self.kind(exit_))
        if is_add(exit_):
            found = self._as_sum(entry, exit_, inside)
        elif is_concat(exit_):
            found = self._as_concat(entry, exit_)
        else:
            found = None
        if found is not None:
            return found
        has_weights = any(self.is_weight_layer(node) for node in inside)
        return Segment(entry, exit_, "composite" if has_weights else "other")

    def _as_sum(self, entry: fx.Node, exit_: fx.Node, inside: set[fx.Node]) -> Segment | None:
        roads = self._summands(exit_, entry, inside)
        if len(roads) < 2 or not self._apart(roads, entry):
            return None
        cost = {road: self._cost(road, entry) for road in roads}
        first, second = sorted(roads, key=cost.__getitem__)[:2]
        if not any(layers for layers, _ in cost.values()):
            return None
        if cost[first] == cost[second] or (
            first is not entry and cost[first][0] == cost[second][0]
        ):
            return Segment(entry, exit_, "parallel", branches=tuple(roads))
        rest = tuple(road for road in roads if road is not first)
        return Segment(entry, exit_, "residual", first, rest)

    def _as_concat(self, entry: fx.Node, exit_: fx.Node) -> Segment | None:
        parts, dim = concat_parts(exit_)
        if len(parts) < 2 or any(part not in self.active for part in parts):
            return None
        if not self._apart(parts, entry):
            return None
        if not any(self._cost(part, entry)[0] for part in parts):
            return None
        if dim == 1 and parts[0] is entry and entry not in parts[1:]:
            return Segment(entry, exit_, "dense", entry, tuple(parts[1:]))
        return Segment(entry, exit_, "parallel", branches=tuple(parts))

    def _summands(self, exit_: fx.Node, entry: fx.Node, inside: set[fx.Node]) -> list[fx.Node]:
        """The operands of a sum, with sums of sums opened (``x + a + b`` has three)."""
        roads: list[fx.Node] = []
        for operand in exit_.args[:2]:
            if not isinstance(operand, fx.Node) or operand not in self.active:
                return []
            nested = operand is not entry and operand in inside and is_add(operand)
            if nested and len(operand.users) == 1:
                inner = self._summands(operand, entry, inside)
                roads.extend(inner or [operand])
            else:
                roads.append(operand)
        return roads

    def _apart(self, roads: Iterable[fx.Node], entry: fx.Node) -> bool:
        """Whether roads share nothing but their entry (and views such as a split of it)."""
        seen: set[fx.Node] = set()
        for road in roads:
            cone = {n for n in self.cone(road, entry) if not self._splits(n, entry)}
            if cone & seen:
                return False
            seen |= cone
        return True

    def _splits(self, node: fx.Node, entry: fx.Node) -> bool:
        """Whether a node only cuts the entry into several tensors."""
        several = self.sizes[node.name].shapes is None
        return several and self.inputs(node) == [entry] and not self.weights(node)

    def _cost(self, road: fx.Node, entry: fx.Node) -> tuple[int, int]:
        inside = self.cone(road, entry)
        return sum(self.is_weight_layer(node) for node in inside), len(inside)

    def scope(self, nodes: Iterable[fx.Node]) -> str:
        """The innermost module in which all these nodes lie ("" for the root)."""
        return common_scope(scope_of(node) for node in nodes)


def common_scope(scopes: Iterable[str]) -> str:
    """The longest common prefix of dotted names.

    >>> common_scope(["layer1.0.conv1", "layer1.0.bn1"])
    'layer1.0'
    """
    split = [scope.split(".") if scope else [] for scope in scopes]
    common: list[str] = []
    for level in zip(*split, strict=False):
        if any(part != level[0] for part in level):
            break
        common.append(level[0])
    return ".".join(common)


def _attribute(root: nn.Module, path: str) -> object:
    value: object = root
    for part in path.split("."):
        value = getattr(value, part)
    return value
