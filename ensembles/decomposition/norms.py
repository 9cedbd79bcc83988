"""Normalisations by running statistics become layers, however a model calls them.

A layer is what engines fold into a convolution, and whose statistics can be measured anew.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from ensembles.decomposition.sizes import Sizes

__all__ = ["BATCH_NORM_ARGUMENTS", "norms_as_layers"]

_aten = torch.ops.aten
_WITH_STATISTICS = _aten._native_batch_norm_legit_no_training.default
BATCH_NORM_ARGUMENTS: dict[Any, tuple[str, ...]] = {
    F.batch_norm: (
        "input", "running_mean", "running_var", "weight", "bias", "training", "momentum", "eps",
    ),
    torch.batch_norm: (
        "input", "weight", "bias", "running_mean", "running_var", "training", "momentum", "eps",
    ),
    _WITH_STATISTICS: (
        "input", "weight", "bias", "running_mean", "running_var", "momentum", "eps",
    ),
}  # fmt: skip
BATCH_NORM_ARGUMENTS[_aten.batch_norm.default] = BATCH_NORM_ARGUMENTS[torch.batch_norm]
_LAYERS = {2: nn.BatchNorm1d, 3: nn.BatchNorm1d, 4: nn.BatchNorm2d, 5: nn.BatchNorm3d}


def norms_as_layers(traced: fx.GraphModule, sizes: Mapping[str, Sizes]) -> None:
    """Exchange calls of a batch normalisation for layers, in place.

    Args:
        traced: A graph in evaluation mode.
        sizes: Shapes of its values, by node name.
    """
    made: dict[tuple[Any, ...], str] = {}
    for node in list(traced.graph.nodes):
        names = BATCH_NORM_ARGUMENTS.get(node.target) if node.op == "call_function" else None
        if names is None:
            continue
        given = {**dict(zip(names, node.args, strict=False)), **node.kwargs}
        value, source, eps = _value(node), given["input"], float(given.get("eps", 1e-5))
        tensors = {name: _tensor(traced, given.get(name)) for name in _TENSORS}
        layer = _layer(tensors, eps, len(sizes[value.name].two or ()))
        if layer is None or given.get("training", False):
            continue
        key = (eps, *(id(tensor) for tensor in tensors.values()))
        if key not in made:  # a norm that is called several times is one layer
            made[key] = f"layer_of_{node.name}"
            traced.add_submodule(made[key], layer)
        value.op, value.target, value.args, value.kwargs = "call_module", made[key], (source,), {}


_TENSORS = ("running_mean", "running_var", "weight", "bias")


def _value(node: fx.Node) -> fx.Node:
    """The node whose value is what was normalised; some calls give statistics beside it."""
    if node.target is not _WITH_STATISTICS:
        return node
    return next(user for user in node.users if user.args[1] == 0)


def _tensor(traced: fx.GraphModule, node: Any) -> Tensor | None:
    """The tensor that a node fetches, where it fetches one."""
    if not isinstance(node, fx.Node) or node.op != "get_attr":
        return None
    module, _, name = str(node.target).rpartition(".")
    value = getattr(traced.get_submodule(module), name)
    return value if isinstance(value, Tensor) else None


def _layer(tensors: Mapping[str, Tensor | None], eps: float, rank: int) -> nn.Module | None:
    """A layer with given statistics and weights; None where it has no statistics of its own."""
    mean, variance = tensors["running_mean"], tensors["running_var"]
    if mean is None or variance is None or rank not in _LAYERS:
        return None
    weight, bias = tensors["weight"], tensors["bias"]
    layer = _LAYERS[rank](len(mean), eps, affine=weight is not None or bias is not None)
    layer.running_mean, layer.running_var = mean.data, variance.data
    if layer.affine:
        layer.weight = _parameter(torch.ones_like(mean) if weight is None else weight)
        layer.bias = _parameter(torch.zeros_like(mean) if bias is None else bias)
    return layer.eval()


def _parameter(value: Tensor) -> nn.Parameter:
    return value if isinstance(value, nn.Parameter) else nn.Parameter(value, requires_grad=False)
