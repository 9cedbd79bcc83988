"""What a graph need not hold goes: idle nodes, concatenations written out again, stacked means."""

from __future__ import annotations

import copy
import operator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from ensembles.decomposition.private_copy import without_hooks

__all__ = [
    "average", "concat_parts", "is_add", "is_concat", "is_stack", "operation", "simplify",
    "stack_sum",
]  # fmt: skip

_SCRIPTED = torch.jit.ScriptModule
_IDLE_MODULES = (nn.Identity, nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout)
_DROPOUTS = {F.dropout, F.dropout1d, F.dropout2d, F.dropout3d, F.alpha_dropout}
_ADDS = {operator.add, torch.add, torch.ops.aten.add.Tensor}
_CONCATS = {torch.cat, torch.concat, torch.concatenate, torch.ops.aten.cat.default}


def is_add(node: fx.Node) -> bool:
    """Whether a node adds two activations."""
    if node.op == "call_method":
        return node.target == "add" and not node.kwargs
    return node.op == "call_function" and node.target in _ADDS and not node.kwargs


def is_concat(node: fx.Node) -> bool:
    """Whether a node concatenates activations."""
    return node.op == "call_function" and node.target in _CONCATS


def is_stack(node: fx.Node) -> bool:
    """Whether a node stacks activations along a new dimension."""
    return node.op == "call_function" and node.target is torch.stack


def stack_sum(node: fx.Node) -> bool:
    """Whether a node sums over the dimension along which activations were stacked."""
    stack = node.args[0] if node.args else None
    if operation(node) != "sum" or not isinstance(stack, fx.Node) or not is_stack(stack):
        return False
    return len(node.args) < 3 and node.kwargs.keys() <= {"dim"} and _reduces(node, stack)


def _reduces(node: fx.Node, stack: fx.Node) -> bool:
    """Whether a reduction takes the dimension of a stack away, and no other."""
    stacked = stack.args[1] if len(stack.args) > 1 else stack.kwargs.get("dim", 0)
    reduced = node.args[1] if len(node.args) > 1 else node.kwargs.get("dim")
    return reduced in (stacked, [stacked], (stacked,))


def average(*roads: Tensor) -> Tensor:
    """The mean of tensors of one shape."""
    return torch.stack(roads).mean(0)


def operation(node: fx.Node) -> str:
    """The bare name of a function or method: "add" for ``aten.add.Tensor``."""
    name = str(getattr(node.target, "__name__", node.target)).partition(".")[0]
    return name.strip("_")


def simplify(traced: fx.GraphModule) -> None:
    """Rewrite a recorded graph in place; what it computes stays the same.

    Args:
        traced: The graph; modules that work in place are exchanged for copies that do not.
    """
    called = {str(node.target) for node in traced.graph.nodes if node.op == "call_module"}
    for name, module in list(traced.named_modules(remove_duplicate=False)):
        pure = without_hooks(module) if name in called else module
        if getattr(module, "inplace", False) is True and not isinstance(module, _SCRIPTED):
            pure = copy.copy(pure)
            pure.inplace = False
        if pure is not module:
            parent, _, last = name.rpartition(".")
            setattr(traced.get_submodule(parent), last, pure)
    _drop_idle(traced)
    _nest_concats(traced.graph)
    _join_averages(traced.graph)
    traced.graph.eliminate_dead_code()
    traced.delete_all_unused_submodules()
    traced.graph.lint()
    traced.recompile()


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
    if node.target in ("clone", torch.clone, torch.ops.aten.clone.default):
        return first if isinstance(first, fx.Node) else None  # nothing is changed in place
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


def _join_averages(graph: fx.Graph) -> None:
    """Write the mean over a stack as one operation on what was stacked."""
    for node in graph.nodes:
        stack = node.args[0] if node.args else None
        if operation(node) != "mean" or not isinstance(stack, fx.Node) or not is_stack(stack):
            continue
        if not node.kwargs.keys() - {"dim"} and _reduces(node, stack) and len(node.args) < 3:
            roads = stack.args[0] if stack.args else stack.kwargs["tensors"]
            assert isinstance(roads, (list, tuple))
            node.op, node.target = "call_function", average
            node.args, node.kwargs = tuple(roads), {}
