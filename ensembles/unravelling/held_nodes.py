"""Nodes of a graph that are held: attention patterns, gates, slopes and scales of norms.

What is held keeps its value and has no derivative; see :mod:`ensembles.unravelling.additive`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from ensembles.decomposition.pure_forms import name_of

__all__ = ["hold"]

_PATTERNS = ("softmax",)
_ATTENTION = ("scaled_dot_product_attention", "multi_head_attention_forward")
_SCALES = ("rsqrt", "sqrt", "std", "var", "norm", "vector_norm")
_OPENINGS = ("sigmoid", "tanh", "erf", "hardsigmoid")
_ACTIVATIONS = (
    "silu", "gelu", "relu", "relu6", "leaky_relu", "elu", "selu", "celu", "mish", "softplus",
    "hardswish", "square",
)  # fmt: skip
_PRODUCTS = ("mul", "multiply")
_RESHAPED = (
    "view", "reshape", "unsqueeze", "expand", "expand_as", "permute", "transpose", "flatten",
    "getitem",
)  # fmt: skip
_SUMS = ("add", "sub")
_MODULES = {
    nn.SiLU: "silu", nn.GELU: "gelu", nn.ReLU: "relu", nn.ReLU6: "relu6", nn.Softmax: "softmax",
    nn.LeakyReLU: "leaky_relu", nn.ELU: "elu", nn.SELU: "selu", nn.CELU: "celu", nn.Mish: "mish",
    nn.Softplus: "softplus", nn.Hardswish: "hardswish", nn.Sigmoid: "sigmoid", nn.Tanh: "tanh",
    nn.Hardsigmoid: "hardsigmoid",
}  # fmt: skip


def hold(part: fx.GraphModule) -> bool:
    """Hold what is to be held in one part, in place; whether there was anything."""
    changed = False
    for node in list(part.graph.nodes):
        module = part.get_submodule(str(node.target)) if node.op == "call_module" else None
        name = _name(node, module)
        if isinstance(module, (nn.LayerNorm, nn.GroupNorm, nn.RMSNorm)) or name in _NORMS:
            changed |= _hold_norm(part, node, module, name)
        elif isinstance(module, nn.MultiheadAttention) or name in _ATTENTION:
            _hold_pattern(part, node)
            changed = True
        elif name in _PATTERNS + _SCALES or (name in _OPENINGS and _opens(node)):
            _exchange(part, node, _detached, (node,))
            changed = True
        elif name in _ACTIVATIONS + _OPENINGS:
            gate = any(_is_gate(node, user) for user in node.users)
            given = (node,) if gate else (node.all_input_nodes[0], node)
            _exchange(part, node, _detached if gate else _with_slope, given)
            changed = True
    return changed


def _name(node: fx.Node, module: nn.Module | None) -> str:
    if module is not None:
        return next((name for kind, name in _MODULES.items() if isinstance(module, kind)), "")
    target = node.target
    return name_of(target).rstrip("_") if node.op != "get_attr" else ""


def _is_product(node: fx.Node) -> bool:
    """Whether a node multiplies two values of the graph."""
    several = sum(isinstance(one, fx.Node) for one in (*node.args, *node.kwargs.values())) > 1
    return several and node.op != "call_module" and _name(node, None) in _PRODUCTS


def _is_gate(node: fx.Node, user: fx.Node) -> bool:
    """Whether a user multiplies by a node that is held: a sigmoid before any other factor.

    What is multiplied by something made of itself, as in squeeze and excitation, is no gate.
    """
    if not _is_product(user):
        return False
    factors = user.all_input_nodes
    others = [one for one in factors if one is not node]
    if not others or any(_is_made_of(one, node) for one in others):
        return False
    return min(factors, key=_openness) is node


def _openness(node: fx.Node) -> int:
    """How much a factor is a gate: the least the most; of equal ones the first is held."""
    while node.op != "call_module" and _name(node, None) in _RESHAPED:
        node = node.all_input_nodes[0]
    module = node.graph.owning_module
    part = module.get_submodule(str(node.target)) if node.op == "call_module" and module else None
    name = _name(node, part)
    names = (_detached.__name__,), ("sigmoid", "hardsigmoid"), _OPENINGS, _ACTIVATIONS
    return next((place for place, some in enumerate(names) if name in some), len(names))


def _is_made_of(node: fx.Node, source: fx.Node) -> bool:
    """Whether one node's value depends on another's."""
    seen, left = {node}, [node]
    while left:
        for one in left.pop().all_input_nodes:
            if one is source:
                return True
            if one not in seen:
                seen.add(one)
                left.append(one)
    return False


def _opens(node: fx.Node) -> bool:
    """Whether a sigmoid, or a sum with it, multiplies something: as in x (1 + erf(x))."""
    for user in node.users:
        if _is_gate(node, user):
            return True
        name = "" if user.op == "call_module" else _name(user, None)
        if name in (*_SUMS, *_PRODUCTS) and any(_is_product(one) for one in user.users):
            return True
        if name in _RESHAPED and _opens(user):
            return True
    return False


def _exchange(
    part: fx.GraphModule, node: fx.Node, function: Callable[..., Tensor], given: tuple[Any, ...]
) -> None:
    """Let the users of a node read a function of it instead."""
    with part.graph.inserting_after(node):
        held = part.graph.call_function(function, given)
    node.replace_all_uses_with(held, lambda user: user is not held)


def _hold_pattern(part: fx.GraphModule, node: fx.Node) -> None:
    """Give attention queries and keys without derivatives."""
    query, key = (
        node.args[place] if len(node.args) > place else node.kwargs[name]
        for place, name in enumerate(("query", "key"))
    )
    with part.graph.inserting_before(node):
        held = [part.graph.call_function(_detached, (one,)) for one in (query, key)]
    rest = {name: one for name, one in node.kwargs.items() if name not in ("query", "key")}
    node.args, node.kwargs = (*held, *node.args[2:]), rest


def _detached(value: Tensor) -> Tensor:
    return value.detach()


def _with_slope(x: Tensor, value: Tensor) -> Tensor:
    """A value as the product of x and a constant; zero where x is."""
    slope = torch.where(x == 0, 0, value / torch.where(x == 0, 1, x))
    return x * slope.detach()


_NORMS: dict[str, Callable[..., Any]] = {
    "layer_norm": F.layer_norm, "rms_norm": F.rms_norm, "group_norm": F.group_norm,
}  # fmt: skip
_NAMES: dict[str, tuple[str, ...]] = {
    "layer_norm": ("input", "normalized_shape", "weight", "bias", "eps"),
    "rms_norm": ("input", "normalized_shape", "weight", "eps"),
    "group_norm": ("input", "num_groups", "weight", "bias", "eps"),
}


def _hold_norm(part: fx.GraphModule, node: fx.Node, module: nn.Module | None, name: str) -> bool:
    """Exchange a norm for one with a constant scale."""
    if module is not None:
        name = next(n for n, k in _KINDS.items() if isinstance(module, k))
        (source,) = node.all_input_nodes
        path = str(node.target)
        with part.graph.inserting_before(node):
            own = {
                one: part.graph.get_attr(f"{path}.{one}")
                for one in ("weight", "bias")
                if getattr(module, one, None) is not None
            }
        size = module.num_groups if name == "group_norm" else module.normalized_shape
        given: dict[str, Any] = {"input": source, _NAMES[name][1]: size, "eps": module.eps, **own}
    else:
        given = dict(zip(_NAMES[name], node.args, strict=False)) | dict(node.kwargs)
    with part.graph.inserting_before(node):
        held = part.graph.call_function(_held_norm, (name,), given)
    node.replace_all_uses_with(held)
    part.graph.erase_node(node)
    return True


_KINDS = {"layer_norm": nn.LayerNorm, "group_norm": nn.GroupNorm, "rms_norm": nn.RMSNorm}


def _held_norm(name: str, input: Tensor, **given: Any) -> Tensor:
    """A norm as the product of what it centres and a constant."""
    weight, bias, eps = given.get("weight"), given.get("bias"), given.get("eps")
    if name == "group_norm":
        groups = torch.unflatten(input, 1, (given["num_groups"], -1))
        dims, shape = tuple(range(2, groups.ndim)), (-1, *[1] * (input.ndim - 2))
    else:
        groups, count = input, len(tuple(given["normalized_shape"]))
        dims, shape = tuple(range(-count, 0)), tuple(given["normalized_shape"])
    centred = groups if name == "rms_norm" else groups - groups.mean(dims, keepdim=True)
    least = torch.finfo(input.dtype).eps if eps is None else eps
    scale = torch.rsqrt((centred * centred).mean(dims, keepdim=True) + least).detach()
    out = (centred * scale).reshape(input.shape)
    out = out if weight is None else out * weight.reshape(shape)
    return out if bias is None else out + bias.reshape(shape)
