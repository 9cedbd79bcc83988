"""The functional graph of a network, and the questions that the decomposition asks of it.

The tensors that every path passes through are the immediate dominators of the output, followed back
to the input.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from functools import cached_property

import torch
from torch import Tensor, fx, nn

from ensembles.decomposition.dominators import immediate_dominators
from ensembles.decomposition.guards import guarded
from ensembles.decomposition.layouts import PLAIN, Layout, layout_of
from ensembles.decomposition.simplification import operation
from ensembles.decomposition.sizes import Sizes, sample_of
from ensembles.decomposition.trace import scope_of
from ensembles.errors import DecompositionError

__all__ = ["Graph", "common_scope"]

_NORMS = ("batch_norm", "layer_norm", "group_norm", "instance_norm", "rms_norm", "normalize")
_POINTWISE = (
    "relu", "relu6", "elu", "selu", "celu", "gelu", "silu", "mish", "leaky_relu", "sigmoid",
    "tanh", "hardswish", "hardtanh", "hardsigmoid", "softplus", "logsigmoid", "prelu", "clamp",
)  # fmt: skip
_ARITHMETIC = (
    "add", "radd", "sub", "rsub", "mul", "rmul", "div", "rdiv", "truediv", "where", "masked_fill",
    "cat", "stack", "average", "maximum", "minimum",
)  # fmt: skip
_MATRIX_PRODUCTS = ("einsum", "matmul", "bmm", "mm", "mv")
_LOOKUPS = ("getitem", "index_select", "embedding")
_REARRANGED = ("transpose", "permute", "reshape", "view", "unsqueeze", "squeeze", "mt", "t")


class Graph:
    """A functional graph with the questions that the decomposition asks of it."""

    def __init__(
        self,
        traced: fx.GraphModule,
        sizes: dict[str, Sizes],
        context: frozenset[fx.Node] = frozenset(),
    ) -> None:
        self.traced = traced
        self.sizes = sizes
        self.context = context
        nodes = list(traced.graph.nodes)
        self.order = {node: i for i, node in enumerate(nodes)}
        self.input = next(node for node in nodes if node.op == "placeholder")
        ends = [node for node in nodes if node.op == "output"]
        self.output = ends[0].args[0]
        self.mixed: set[str] = set()
        self._weights: dict[fx.Node, list[Tensor]] = {}
        if not isinstance(self.output, fx.Node):
            raise DecompositionError("the model returns a constant; expected logits")

    def layout(self, node: fx.Node) -> Layout:
        """Where the images of a node's value are."""
        plain = node is self.input
        return PLAIN if plain else layout_of(self.sizes[node.name], node.name not in self.mixed)

    @property
    def sample(self) -> fx.Node:
        """The tensor by which the network tells how many images it is given."""
        return sample_of(self.input)

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next((weight.device for weight in self.traced.parameters()), torch.device("cpu"))

    def without_context(self) -> Graph:
        """The graph in which only what carries a gradient is an activation.

        Masks, positions, labels, and what is made of these alone and without weights, are context:
        blocks read them beside their input.
        """
        signal, context = {self.input}, set[fx.Node]()
        for node in self.order:
            if node not in self.active or node is self.input:
                continue
            sources = [source for source in node.all_input_nodes if source in self.active]
            carried = any(source in signal for source in sources if source is not self.input)
            real = bool(node.meta.get("real", True))
            fresh = self.input in sources and self._brings(node)
            learned = not carried and not fresh and bool(self.weights(node))
            (signal if real and (carried or fresh or learned) else context).add(node)
        if not context:
            return self
        flowing = Graph(self.traced, self.sizes, frozenset(context))
        flowing.mixed = self.mixed
        return flowing

    def _brings(self, node: fx.Node) -> bool:
        """Whether a node that reads the input carries its gradient on."""
        return bool(self.input.meta.get("real")) or bool(self.input.meta.get("several"))

    @cached_property
    def depending(self) -> set[fx.Node]:
        """The nodes whose value depends on the inputs, those of the context too."""
        return self._active(frozenset())

    @cached_property
    def active(self) -> set[fx.Node]:
        """The nodes whose value depends on the images and that are no context."""
        return self._active(self.context)

    def _active(self, context: frozenset[fx.Node]) -> set[fx.Node]:
        found = {self.input}
        for node in self.order:
            if node.op == "output" or node.meta.get("anchored") or node in context:
                continue
            sources = node.all_input_nodes
            if any(source in found or source in context for source in sources):
                found.add(node)
        return found

    def inputs(self, node: fx.Node) -> list[fx.Node]:
        """The nodes that bring activations into a node, each once.

        What is learned of the context alone, as an embedding of ids is, begins where that was made:
        at the input, or at the activations of which a code was chosen.
        """
        found = [source for source in node.all_input_nodes if source in self.active]
        begins = not found and node in self.active and node is not self.input
        return self._behind_context(node) if begins and self.context else found

    def _behind_context(self, node: fx.Node) -> list[fx.Node]:
        """The activations of which the context that a node reads was made, or else the input."""
        found: dict[fx.Node, None] = {}
        seen, open_nodes = set[fx.Node](), [node]
        while open_nodes:
            for source in open_nodes.pop().all_input_nodes:
                if source in self.active:
                    found[source] = None
                elif source in self.context and source not in seen:
                    seen.add(source)
                    open_nodes.append(source)
        return [one for one in found if one is not self.input] or [self.input]

    def weights(self, node: fx.Node) -> list[Tensor]:
        """The parameters that a node uses, as they are or computed with."""
        if node not in self._weights:
            self._weights[node] = list(self._used(node))
        return self._weights[node]

    def _used(self, node: fx.Node) -> Iterator[Tensor]:
        if node.op == "call_module":
            yield from self.traced.get_submodule(str(node.target)).parameters()
        elif node.op == "get_attr":
            value = _attribute(self.traced, str(node.target))
            if isinstance(value, nn.Parameter):
                yield value
        for source in node.all_input_nodes:
            if source not in self.active and source not in self.context:
                yield from self.weights(source)

    def is_weight_layer(self, node: fx.Node) -> bool:
        """Whether a node is a convolution, a linear layer or attention: a weight with a matrix."""
        if self._operation(node) in _ARITHMETIC:
            return False
        if self._reads_chosen(node):
            return True
        return any(sum(size > 1 for size in weight.shape) >= 2 for weight in self.weights(node))

    def _reads_chosen(self, node: fx.Node) -> bool:
        """Whether a node multiplies an activation by weights that the context has chosen."""
        if self._operation(node) not in _MATRIX_PRODUCTS:
            return False
        chosen = [self._is_chosen(source) for source in self.inputs(node)]
        return any(chosen) and not all(chosen)

    def _is_chosen(self, node: fx.Node) -> bool:
        """Whether a value is looked up among weights by an index that is context."""
        while self._operation(node) in _REARRANGED and len(node.all_input_nodes) == 1:
            (node,) = node.all_input_nodes
        looked_up = self._operation(node) in _LOOKUPS and node in self.active
        found = [source for source in node.all_input_nodes if source in self.active]
        return looked_up and not found and bool(self.weights(node))

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
            return {"leakyrelu": "leaky_relu"}.get(name, name)
        return operation(node)

    @cached_property
    def dominators(self) -> dict[fx.Node, fx.Node]:
        """The immediate dominator of each activation: the last that all ways to it lead through."""
        nodes = (node for node in self.order if node in self.active)
        found = immediate_dominators(self.input, nodes, self.inputs)
        if self.output not in found:
            raise DecompositionError("the logits do not depend on the images")
        return found

    @cached_property
    def chain(self) -> list[fx.Node]:
        """The tensors that every path passes through, from the input to the logits."""
        dominators = self.dominators
        assert isinstance(self.output, fx.Node)
        found = [self.output]
        while found[-1] is not self.input:
            found.append(dominators[found[-1]])
        return [node for node in reversed(found) if self.sizes[node.name].batch is not None]

    @cached_property
    def used(self) -> set[fx.Node]:
        """The activations that the logits are made of, what only decides on the data left out."""
        found: set[fx.Node] = set()
        open_nodes = [self.output]
        while open_nodes:
            node = open_nodes.pop()
            if node in found or node not in self.active:
                continue
            found.add(node)
            sources = self.inputs(node)
            open_nodes.extend(sources[:1] if node.target is guarded else sources)
        return found

    def depends(self, node: fx.Node, other: fx.Node) -> bool:
        """Whether a node is computed of another, by whatever way."""
        return bool(self._ancestors[node] >> self.order[other] & 1)

    @cached_property
    def _ancestors(self) -> dict[fx.Node, int]:
        """The nodes of which each is computed, as bits of a whole number."""
        found: dict[fx.Node, int] = {}
        for node in self.order:
            bits = 0
            for source in node.all_input_nodes:
                bits |= found[source] | (1 << self.order[source])
            found[node] = bits
        return found

    def cone(self, end: fx.Node, entry: fx.Node, beside: Collection[fx.Node] = ()) -> set[fx.Node]:
        """The activations between an entry and an end: the end, not the entry.

        Args:
            end: The last.
            entry: What comes before the first.
            beside: Others that come before what is looked for.
        """
        found: set[fx.Node] = set()
        open_nodes = [end]
        while open_nodes:
            node = open_nodes.pop()
            if node is entry or node in found or node in beside:
                continue
            found.add(node)
            open_nodes.extend(self.inputs(node))
        return found

    def depth(
        self, ends: Sequence[fx.Node], entry: fx.Node, beside: Collection[fx.Node] = ()
    ) -> int:
        """Weight layers on the longest road between two activations."""
        depth = {entry: 0, **dict.fromkeys(beside, 0)}
        inside = set[fx.Node]().union(*(self.cone(end, entry, beside) for end in ends))
        for node in sorted(inside, key=self.order.__getitem__):
            below = max((depth.get(source, 0) for source in self.inputs(node)), default=0)
            depth[node] = below + self.is_weight_layer(node)
        return max(depth[end] for end in ends)

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
