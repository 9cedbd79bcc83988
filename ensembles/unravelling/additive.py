"""A network whose attention patterns, gates and scales of norms are held: its additive form.

At an activation, attention is a weighted sum of values, a gated layer a product with its gate, a
norm a product with a scale. Where pattern, gate and scale are constants at their own values, every
part is linear but for its biases: what a block adds is a sum over the terms of its input, each
handled alike. A derivative leaves out, then, how these constants would change.

The idea is that of attributions that add up, such as DePass (arXiv 2510.18462): what is held is
stated in :data:`HELD`.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from ensembles.decomposition import Decomposition, walk
from ensembles.decomposition.pure_forms import name_of
from ensembles.errors import PathError
from ensembles.numerics import differentiable

__all__ = ["HELD", "additive", "require_additive"]

HELD = "attention patterns, gates, slopes of activations and scales of norms"
"""What is a constant of each input in the additive form."""

_PATTERNS = ("softmax",)
_ATTENTION = ("scaled_dot_product_attention", "multi_head_attention_forward")
_SCALES = ("rsqrt", "sqrt", "std", "var", "norm", "vector_norm")
_OPENINGS = ("sigmoid", "tanh", "erf", "hardsigmoid")
_ACTIVATIONS = (
    "silu", "gelu", "relu", "relu6", "leaky_relu", "elu", "selu", "celu", "mish", "softplus",
    "hardswish", "square",
)  # fmt: skip
_PRODUCTS = ("mul", "multiply")
_SUMS = ("add", "sub")
_MODULES = {
    nn.SiLU: "silu", nn.GELU: "gelu", nn.ReLU: "relu", nn.ReLU6: "relu6", nn.Softmax: "softmax",
    nn.LeakyReLU: "leaky_relu", nn.ELU: "elu", nn.SELU: "selu", nn.CELU: "celu", nn.Mish: "mish",
    nn.Softplus: "softplus", nn.Hardswish: "hardswish", nn.Sigmoid: "sigmoid", nn.Tanh: "tanh",
    nn.Hardsigmoid: "hardsigmoid",
}  # fmt: skip


def additive(net: Decomposition) -> Decomposition:
    """A copy of a network with the same values, whose derivatives are those of its additive form.

    An activation that multiplies another part of the input is a gate and is held. Any other is the
    product of its input with a slope, its value over its input, which is held: of a ReLU that is
    its derivative.

    Args:
        net: The network; for what is not known here, :func:`require_additive` refuses it.
    """
    twin = copy.deepcopy(net)
    for part in twin.modules():
        if isinstance(part, fx.GraphModule) and _hold(part):
            part.graph.lint()
            part.recompile()
    return twin


def require_additive(net: Decomposition, images: Tensor) -> None:
    """Refuse a network with a part whose derivative still depends on its input.

    Args:
        net: What :func:`additive` gave.
        images: Rows to look at, (N, *input_shape).

    Raises:
        PathError: Naming the part.
    """
    with torch.no_grad(), differentiable():
        last = images
        for block, x, last in walk(net, images):  # noqa: B007
            entry = x if block.before is None else block.before(x)
            middle = entry if block.pre is None else block.pre(entry)
            total = block.on_shortcut(middle) + block.on_branch(middle)
            parts = (block.before, x), (block.pre, entry), (block.branch, middle)
            for part, given in (*parts, (block.shortcut, middle), (block.post, total)):
                if part is not None and _bends(part, given):
                    raise _not_additive(block.label)
        if _bends(net.head, last):
            raise _not_additive("the head")


def _not_additive(name: str) -> PathError:
    return PathError(
        f"{name} is not linear where {HELD} are held; expected attention, norms and activations "
        "as torch has them, or linearization derivatives"
    )


def _bends(part: nn.Module, x: Tensor) -> bool:
    """Whether the derivative of a part changes with its input."""
    with torch.enable_grad():
        probe = x[:1].detach().requires_grad_()
        out = part(probe)
        if not out.requires_grad:
            return False
        chance = torch.Generator(device="cpu").manual_seed(0)
        drawn = [torch.randn(t.shape, generator=chance).to(t) for t in (out, probe)]
        (slope,) = torch.autograd.grad(out, probe, drawn[0], create_graph=True, allow_unused=True)
        if slope is None or not slope.requires_grad:
            return False
        (second,) = torch.autograd.grad(slope, probe, drawn[1], allow_unused=True)
    return second is not None and bool((second != 0).any())


def _hold(part: fx.GraphModule) -> bool:
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
            gate = any(_is_product(user) for user in node.users)
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


def _opens(node: fx.Node) -> bool:
    """Whether a sigmoid, or a sum with it, multiplies something: as in x (1 + erf(x))."""
    for user in node.users:
        added = user.op != "call_module" and _name(user, None) in (*_SUMS, *_PRODUCTS)
        if _is_product(user) or (added and any(_is_product(one) for one in user.users)):
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
