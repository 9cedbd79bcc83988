"""Large linear layers on a processor by oneDNN, whose kernels are the faster ones there."""

from __future__ import annotations

import platform
from typing import Any

import torch
from torch import Tensor, fx, nn

from ensembles.decomposition.state import OnState

__all__ = ["with_cpu_products"]

_LARGE = 1 << 18
"""Weights of a layer from which on its product, and not the call of it, takes the time."""

_X86 = ("x86_64", "AMD64")


class _Product(nn.Module):
    """A linear layer; its weights are those of another one."""

    def __init__(self, layer: nn.Linear) -> None:
        super().__init__()
        self.weight, self.bias = layer.weight, layer.bias

    def forward(self, x: Tensor) -> Tensor:
        product: Any = torch.ops.mkldnn._linear_pointwise
        out: Tensor = product(x, self.weight, self.bias, "none", [], "")
        return out


def with_cpu_products(part: nn.Module, device: torch.device, dtype: torch.dtype) -> nn.Module:
    """A graph in which oneDNN computes large linear layers, where that is faster.

    torch takes another library for products in single precision; this one is a tenth faster on an
    AMD EPYC, most with few rows and many outputs, as heads of language models have. Sums are
    rounded differently.

    Args:
        part: A graph, for runs without gradients; it is changed.
        device: Where it runs.
        dtype: The type of its weights.
    """
    if isinstance(part, OnState):
        return OnState(with_cpu_products(part.module, device, dtype), part.reads)
    usable = device.type == "cpu" and dtype == torch.float32 and platform.machine() in _X86
    if not usable or not _is_there() or not isinstance(part, fx.GraphModule):
        return part
    found = False
    for node in part.graph.nodes:
        if node.op != "call_module" or len(node.args) != 1 or node.kwargs:
            continue
        layer = part.get_submodule(str(node.target))
        if type(layer) is nn.Linear and layer.weight.numel() >= _LARGE:
            name = f"product_{node.name}"
            part.add_submodule(name, _Product(layer).eval())
            node.target, found = name, True
    if found:
        part.delete_all_unused_submodules()
        part.recompile()
    return part


def _is_there() -> bool:
    """Whether this torch was built with it."""
    built: Any = torch.backends.mkldnn
    return built.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")
