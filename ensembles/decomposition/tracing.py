"""A model becomes a graph: symbolic tracing, with `torch.export` where that fails."""

from __future__ import annotations

import copy
import math
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn.utils.parametrize import is_parametrized

from ensembles.errors import DecompositionError

__all__ = ["exact_attention", "private_copy", "scope_of", "trace"]

_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


@contextmanager
def exact_attention() -> Iterator[None]:
    """Switch off the fused inference path of `nn.MultiheadAttention`, which has no derivative."""
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)


def private_copy(model: nn.Module) -> nn.Module:
    """Copy a model in evaluation mode, without the user's hooks and gradients.

    Raises:
        DecompositionError: If the model cannot be copied.
    """
    try:
        twin = copy.deepcopy(model)
    except (RuntimeError, TypeError) as error:
        raise DecompositionError(
            f"{type(model).__name__} cannot be copied ({_line(error)}); "
            "pass a model whose tensors are all parameters or buffers"
        ) from error
    for module in twin.modules():
        for kind in _HOOKS:
            hooks = getattr(module, kind, {})
            for key in [k for k, hook in hooks.items() if not _recomputes_a_weight(hook)]:
                del hooks[key]
    twin.eval().requires_grad_(False)
    _split_fused_norms(twin)
    return twin


def _recomputes_a_weight(hook: object) -> bool:
    return type(hook).__module__.startswith("torch.nn.utils")


def _split_fused_norms(model: nn.Module) -> None:
    """Write timm's norm-with-activation layers out, so that each norm is a module of its own."""
    for name, child in list(model.named_modules()):
        act, drop = getattr(child, "act", None), getattr(child, "drop", None)
        if type(child) is nn.BatchNorm2d or not isinstance(child, nn.BatchNorm2d):
            continue
        if not isinstance(act, nn.Module) or not name or is_parametrized(child):
            continue
        norm = nn.BatchNorm2d(
            child.num_features, child.eps, child.momentum, child.affine, child.track_running_stats
        )
        norm._parameters, norm._buffers = child._parameters, child._buffers
        parts = [norm, *(part for part in (drop, act) if isinstance(part, nn.Module))]
        parent, _, last = name.rpartition(".")
        setattr(model.get_submodule(parent), last, nn.Sequential(*parts).eval())


class _Tracer(fx.Tracer):
    """A tracer that knows the leaves that timm declares."""

    def __init__(self) -> None:
        leaves, functions = _timm_leaves()
        super().__init__(
            autowrap_modules=(math,),
            autowrap_functions=tuple(functions),
            param_shapes_constant=True,
        )
        self._leaves = tuple(leaves)

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        if isinstance(m, self._leaves):
            return True
        return super().is_leaf_module(m, module_qualified_name)


def _timm_leaves() -> tuple[list[type[nn.Module]], list[Any]]:
    timm_layers = sys.modules.get("timm.layers")
    if timm_layers is None:
        return [], []
    return timm_layers.get_notrace_modules(), timm_layers.get_notrace_functions()


def trace(model: nn.Module, example: Tensor) -> fx.GraphModule:
    """Turn a model into a graph of its operations.

    Args:
        model: A private copy in evaluation mode.
        example: A batch of inputs, two images or more.

    Returns:
        A graph whose nodes carry the module that they come from (`scope_of`).

    Raises:
        DecompositionError: If neither symbolic tracing nor `torch.export` can follow the model.
    """
    _check_output(model, example)
    try:
        return _symbolic(model, example)
    except Exception as symbolic:  # user code runs on proxies here and may raise anything
        try:
            return _exported(model, example)
        except Exception as exported:
            raise DecompositionError(
                f"{type(model).__name__} cannot be traced: symbolic tracing says "
                f"'{_line(symbolic)}', torch.export says '{_line(exported)}'; "
                "remove control flow that depends on the data"
            ) from exported


def _check_output(model: nn.Module, example: Tensor) -> None:
    try:
        with torch.no_grad():
            out = model(example.clone())
    except Exception as error:
        raise DecompositionError(
            f"{type(model).__name__} does not accept an input of shape "
            f"{tuple(example.shape)}: {_line(error)}"
        ) from error
    if not isinstance(out, Tensor) or out.ndim < 2 or len(out) != len(example):
        found = f"a tensor of shape {tuple(out.shape)}" if isinstance(out, Tensor) else type(out)
        raise DecompositionError(
            f"{type(model).__name__} returns {found}; "
            f"expected logits of shape ({len(example)}, classes)"
        )


def _symbolic(model: nn.Module, example: Tensor) -> fx.GraphModule:
    tracer = _Tracer()
    inputs = _defaults(model)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        graph = tracer.trace(model, concrete_args=inputs)
    traced = fx.GraphModule(tracer.root, graph, type(model).__name__)
    for node in [n for n in traced.graph.nodes if n.op == "placeholder"][1:]:
        if node.users:
            raise DecompositionError(f"a second input, {node.name}, is used")
        traced.graph.erase_node(node)
    traced.recompile()
    with torch.no_grad():
        traced(example.clone())
    return traced


def _defaults(model: nn.Module) -> dict[str, Any]:
    """Hold every argument of `forward` but the first at its default."""
    import inspect  # noqa: PLC0415

    found = list(inspect.signature(model.forward).parameters.values())
    fixed = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return {p.name: p.default for p in found[1:] if p.kind in fixed and p.default is not p.empty}


def _exported(model: nn.Module, example: Tensor) -> fx.GraphModule:
    batch = torch.export.Dim.AUTO if hasattr(torch.export.Dim, "AUTO") else torch.export.Dim("b")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.export.export(model, (example,), dynamic_shapes=({0: batch},), strict=False)
        traced = program.module()
    for node in list(traced.graph.nodes):
        if node.op in ("call_module", "call_function") and "guard" in str(node.target):
            traced.graph.erase_node(node)
    traced.graph._codegen = fx.graph.CodeGen()
    for node in traced.graph.nodes:
        if node.op == "output" and isinstance(node.args[0], (tuple, list)):
            node.args = (node.args[0][0],)
    return fx.GraphModule(traced, traced.graph, type(model).__name__)


def scope_of(node: fx.Node) -> str:
    """The qualified name of the module in whose `forward` a node was made ("" for the root)."""
    if node.op == "call_module":
        return str(node.target)
    stack = node.meta.get("nn_module_stack")
    if not stack:
        return ""
    path = str(next(reversed(stack.values()))[0])
    return "" if path.startswith("_empty") else path.removeprefix("L__self__").removeprefix(".")


def _line(error: BaseException) -> str:
    text = str(error).strip().splitlines()
    return text[0][:200] if text else type(error).__name__
