"""Large linear layers on a processor by oneDNN, whose kernels are the faster ones there."""

from __future__ import annotations

import platform
from typing import Any

import torch
from torch import Tensor, nn

from ensembles.decomposition.state import OnState
from ensembles.engine.graphs import Graph

__all__ = ["CpuProducts"]

_LARGE = 1 << 18
"""Weights of a layer from which on its product, and not the call of it, takes the time."""

_ROWS = 256
"""Rows that weights are laid out for; any number can be multiplied."""

_X86 = ("x86_64", "AMD64")


class _Product(nn.Module):
    """A linear layer, whose weights are laid out once as the kernel reads them."""

    def __init__(self, layer: nn.Linear, packed: Tensor) -> None:
        super().__init__()
        self.bias, self.packed = layer.bias, packed

    def forward(self, x: Tensor) -> Tensor:
        product: Any = torch.ops.mkldnn._linear_pointwise
        out: Tensor = product(x, self.packed, self.bias, "none", [], "")
        return out


class CpuProducts:
    """Makes graphs in which oneDNN computes large linear layers; each weight is laid out once.

    Args:
        device: Where the graphs run.
        dtype: The type of their weights.
    """

    def __init__(self, device: torch.device, dtype: torch.dtype) -> None:
        fits = device.type == "cpu" and dtype == torch.float32 and platform.machine() in _X86
        self.usable = fits and _is_there()
        self._packed: dict[int, tuple[Tensor, Tensor]] = {}

    def placed(self, part: nn.Module) -> nn.Module:
        """Let oneDNN compute the large linear layers of a graph, where that is faster.

        torch takes another library for products in single precision; this one is a tenth faster on
        an AMD EPYC, most with few rows and many outputs, as heads of language models have. Sums
        are rounded differently.

        Args:
            part: A graph, for runs without gradients; it is changed.
        """
        if isinstance(part, OnState):
            return OnState(self.placed(part.module), part.reads)
        if not self.usable or not isinstance(part, Graph):
            return part
        found = False
        for node in part.graph.nodes:
            if node.op != "call_module" or len(node.args) != 1 or node.kwargs:
                continue
            layer = part.get_submodule(str(node.target))
            if type(layer) is nn.Linear and layer.weight.numel() >= _LARGE:
                name = f"product_{node.name}"
                part.add_submodule(name, _Product(layer, self._laid_out(layer.weight)).eval())
                node.target, found = name, True
        if found:
            part.delete_all_unused_submodules()
            part.compile_whole()
        return part

    def _laid_out(self, weight: Tensor) -> Tensor:
        if id(weight) not in self._packed:
            pack: Any = torch.ops.mkldnn._reorder_linear_weight
            with torch.no_grad():
                made = pack(weight.detach(), _ROWS)
            self._packed[id(weight)] = weight, made  # held, so that ids stay theirs
        return self._packed[id(weight)][1]


def _is_there() -> bool:
    """Whether this torch was built with it."""
    built: Any = torch.backends.mkldnn
    return built.is_available() and all(
        hasattr(torch.ops.mkldnn, name) for name in ("_linear_pointwise", "_reorder_linear_weight")
    )
