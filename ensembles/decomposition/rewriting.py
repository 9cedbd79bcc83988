"""A traced graph becomes functional: no in-place updates, no size arithmetic, no idle nodes.

After these passes every edge carries activations (or weights), so that the dominators of the graph
are the places where the whole network passes through one tensor.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn
from torch.fx.node import map_arg

from ensembles.errors import DecompositionError

__all__ = ["Sizes", "is_add", "is_concat", "make_functional", "size_affine"]

_INPLACE_OPERATORS: dict[Any, Callable[..., Any]] = {
    operator.iadd: operator.add,
    operator.isub: operator.sub,
    operator.imul: operator.mul,
    operator.itruediv: operator.truediv,
}
_IDLE_MODULES = (nn.Identity, nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout)
_DROPOUTS = {F.dropout, F.dropout1d, F.dropout2d, F.dropout3d, F.alpha_dropout}
_ADDS = {operator.add, torch.add, torch.ops.aten.add.Tensor}
_CONCATS = {torch.cat, torch.concat, torch.concatenate, torch.ops.aten.cat.default}
_PROBES = (2, 3)


@dataclass(frozen=True)
class Sizes:
    """Shapes of a node's value, measured with two batch sizes.

    Attributes:
        shapes: The shape for a batch of 2 and of 3 images; None where the value is no tensor.
        is_activation: Whether the value is a tensor or holds one.
    """

    shapes: tuple[tuple[int, ...], tuple[int, ...]] | None
    is_activation: bool

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape without its batch dimension (without the first one where none varies)."""
        if self.shapes is None:
            return ()
        two, three = self.shapes
        varying = [d for d, (a, b) in enumerate(zip(two, three, strict=True)) if a != b]
        return tuple(size for d, size in enumerate(two) if d != (varying or [0])[0])

    @property
    def batch(self) -> tuple[int, int] | None:
        """The dimension that holds the images, and how many of its entries belong to one image."""
        if self.shapes is None or len(self.shapes[0]) != len(self.shapes[1]):
            return None
        two, three = self.shapes
        varying = [d for d, (a, b) in enumerate(zip(two, three, strict=True)) if a != b]
        if len(varying) != 1 or two[varying[0]] * 3 != three[varying[0]] * 2:
            return None
        return varying[0], two[varying[0]] // 2


def size_affine(x: Tensor, dim: int, per_image: int, factor: int, offset: int) -> int:
    """A size that depends on the number of images in `x`: ``factor * images + offset``."""
    return factor * (x.shape[dim] // per_image) + offset


def is_add(node: fx.Node) -> bool:
    """Whether a node adds two activations."""
    if node.op == "call_method":
        return node.target == "add" and not node.kwargs
    return node.op == "call_function" and node.target in _ADDS and not node.kwargs


def is_concat(node: fx.Node) -> bool:
    """Whether a node concatenates activations."""
    return node.op == "call_function" and node.target in _CONCATS


def make_functional(traced: fx.GraphModule, example: Tensor) -> dict[str, Sizes]:
    """Rewrite a traced model so that each node is a pure function of activations and weights.

    Args:
        traced: The traced model; its graph is changed, its parameters are not.
        example: A batch of inputs; its shape but for the batch becomes part of the graph.

    Returns:
        The shapes of all that remain, by node name.

    Raises:
        DecompositionError: If the graph computes a size that is not affine in the batch size.
    """
    _drop_asserts(traced.graph)
    values = [_measure(traced, _resized(example, size)) for size in _PROBES]
    _fix_sizes(traced.graph, values)
    _drop_in_place(traced)
    _drop_idle(traced)
    _nest_concats(traced.graph)
    traced.graph.eliminate_dead_code()
    traced.graph.lint()
    traced.recompile()
    with torch.no_grad():
        values = [_measure(traced, _resized(example, size)) for size in _PROBES]
    return {name: _sizes(values[0][name], values[1][name]) for name in values[0]}


def _resized(example: Tensor, size: int) -> Tensor:
    return example[torch.arange(size, device=example.device) % len(example)].clone()


@dataclass(frozen=True)
class _Shape:
    sizes: tuple[int, ...]


class _Recorder(fx.Interpreter):
    def __init__(self, module: fx.GraphModule) -> None:
        super().__init__(module)
        self.record: dict[str, Any] = {}

    def run_node(self, n: fx.Node) -> Any:
        value = super().run_node(n)
        self.record[n.name] = _summary(value)
        return value


def _summary(value: Any) -> Any:
    if isinstance(value, Tensor):
        return _Shape(tuple(value.shape))
    if isinstance(value, torch.Size):
        return tuple(value)
    if isinstance(value, (tuple, list)):
        return tuple(_summary(v) for v in value)
    return value


def _measure(traced: fx.GraphModule, images: Tensor) -> dict[str, Any]:
    recorder = _Recorder(traced)
    with torch.no_grad():
        recorder.run(images)
    return recorder.record


def _holds_tensor(value: Any) -> bool:
    if isinstance(value, tuple):
        return any(_holds_tensor(v) for v in value)
    return isinstance(value, _Shape)


def _sizes(two: Any, three: Any) -> Sizes:
    if isinstance(two, _Shape):
        return Sizes((two.sizes, three.sizes), True)
    return Sizes(None, _holds_tensor(two))


def _drop_asserts(graph: fx.Graph) -> None:
    for node in list(graph.nodes):
        name = getattr(node.target, "__name__", str(node.target))
        if node.op == "call_function" and "assert" in name and not node.users:
            graph.erase_node(node)


def _fix_sizes(graph: fx.Graph, values: list[dict[str, Any]]) -> None:
    """Replace every value that is no tensor by a constant, or by a multiple of the batch size."""
    image = next(node for node in graph.nodes if node.op == "placeholder")
    for node in list(graph.nodes):
        two, three = values[0][node.name], values[1][node.name]
        if node.op in ("placeholder", "output", "get_attr") or _holds_tensor(two):
            continue
        with graph.inserting_before(node):
            constant = _constant(graph, image, node, two, three)
        for user in list(node.users):
            user.args = map_arg(user.args, lambda n, old=node, new=constant: new if n is old else n)
            user.kwargs = map_arg(
                user.kwargs, lambda n, old=node, new=constant: new if n is old else n
            )
        graph.erase_node(node)


def _constant(graph: fx.Graph, image: fx.Node, node: fx.Node, two: Any, three: Any) -> Any:
    if isinstance(two, tuple) and isinstance(three, tuple) and len(two) == len(three):
        return tuple(_constant(graph, image, node, a, b) for a, b in zip(two, three, strict=True))
    if type(two) is int and type(three) is int and two != three:
        factor = three - two
        size = graph.call_function(size_affine, (image, 0, 1, factor, two - 2 * factor))
        size.meta["batch_size"] = True
        return size
    if isinstance(two, float) and two != three and two == two:  # noqa: PLR0124 - NaN differs
        raise DecompositionError(
            f"the model computes a number from its batch size at {node.name} "
            f"({two} for 2 images, {three} for 3); expected a network whose images are independent"
        )
    return two


def _drop_in_place(traced: fx.GraphModule) -> None:
    """Make updates in place pure: whoever reads the updated tensor later reads the new value."""
    order = {node: i for i, node in enumerate(traced.graph.nodes)}
    for node in list(traced.graph.nodes):
        updated = _pure(traced, node)
        if updated is None:
            continue
        for user in list(updated.users):
            if order[user] > order[node]:
                user.replace_input_with(updated, node)
    for module in traced.modules():
        if getattr(module, "inplace", False) is True:
            module.inplace = False  # type: ignore[assignment]


def _pure(traced: fx.GraphModule, node: fx.Node) -> fx.Node | None:
    """Rewrite one in-place node; return the node whose value it used to change."""
    first = node.args[0] if node.args else None
    if not isinstance(first, fx.Node):
        return None
    if node.op == "call_module":
        module = traced.get_submodule(str(node.target))
        return first if getattr(module, "inplace", False) is True else None
    if node.op == "call_method":
        name = str(node.target)
        if name.endswith("_") and not name.endswith("__") and hasattr(Tensor, name[:-1]):
            node.target = name[:-1]
            return first
        return None
    if node.op != "call_function":
        return None
    if node.target in _INPLACE_OPERATORS:
        node.target = _INPLACE_OPERATORS[node.target]
        return first
    if node.kwargs.get("inplace") is True:
        node.kwargs = {**node.kwargs, "inplace": False}
        return first
    pure = _out_of_place(node.target)
    if pure is None:
        return None
    node.target = pure
    return first


def _out_of_place(target: Any) -> Callable[..., Any] | None:
    if isinstance(target, torch._ops.OpOverload):
        packet, _, overload = target.__name__.partition(".")
        if packet.endswith("_") and hasattr(torch.ops.aten, packet[:-1]):
            found: Callable[..., Any] = getattr(getattr(torch.ops.aten, packet[:-1]), overload)
            return found
        return None
    name = getattr(target, "__name__", "")
    if name.endswith("_") and not name.endswith("__"):
        for home in (torch, F):
            if getattr(home, name, None) is target and hasattr(home, name[:-1]):
                return getattr(home, name[:-1])  # type: ignore[no-any-return]
    return None


def _drop_idle(traced: fx.GraphModule) -> None:
    """Take out what does nothing in evaluation mode: dropout, identities, single concatenations."""
    for node in list(traced.graph.nodes):
        source = _idle_source(traced, node)
        if source is not None:
            node.replace_all_uses_with(source)
            traced.graph.erase_node(node)


def _idle_source(traced: fx.GraphModule, node: fx.Node) -> fx.Node | None:
    first = node.args[0] if node.args else None
    if node.op == "call_module":
        idle = isinstance(traced.get_submodule(str(node.target)), _IDLE_MODULES)
        return first if idle and isinstance(first, fx.Node) else None
    if node.op == "call_function" and node.target in _DROPOUTS:
        training = node.kwargs.get("training", node.args[2] if len(node.args) > 2 else True)
        return first if training is False and isinstance(first, fx.Node) else None
    if node.target is torch.ops.aten.dropout.default:
        return first if node.args[2] is False and isinstance(first, fx.Node) else None
    if is_concat(node):
        parts = node.args[0] if node.args else node.kwargs.get("tensors")
        if isinstance(parts, (list, tuple)) and len(parts) == 1 and isinstance(parts[0], fx.Node):
            return parts[0]
    return None


def concat_parts(node: fx.Node) -> tuple[list[fx.Node], int]:
    """The operands of a concatenation, and its dimension."""
    parts = node.args[0] if node.args else node.kwargs["tensors"]
    dim = node.args[1] if len(node.args) > 1 else node.kwargs.get("dim", node.kwargs.get("axis", 0))
    assert isinstance(parts, (list, tuple)) and isinstance(dim, int)
    return [part for part in parts if isinstance(part, fx.Node)], dim


def _nest_concats(graph: fx.Graph) -> None:
    """Let a concatenation that continues an earlier one start from it.

    DenseNet concatenates all earlier features again before each layer. Written as
    ``cat(cat(a, b), c)`` each layer adds to one growing tensor, and can be cut out.
    """
    seen: dict[tuple[Any, ...], fx.Node] = {}
    for node in list(graph.nodes):
        if not is_concat(node):
            continue
        parts, dim = concat_parts(node)
        for length in range(len(parts), 1, -1):
            earlier = seen.get((dim, *parts[:length]))
            if earlier is not None and length < len(parts):
                node.args, node.kwargs = ([earlier, *parts[length:]], dim), {}
                break
            if earlier is not None:
                node.replace_all_uses_with(earlier)
                break
        seen.setdefault((dim, *parts), node)
