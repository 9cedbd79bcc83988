"""Graphs made fast, without changing what they compute.

BatchNorm is folded into the convolution before it; additions and activations write into a tensor
that nobody else reads.
"""

from __future__ import annotations

import copy
import operator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils.fusion import fuse_conv_bn_weights, fuse_linear_bn_eval

from ensembles.decomposition.state import OnState
from ensembles.engine.checked_kernel import CheckedKernel
from ensembles.engine.fused_convolutions import fuse_convolutions
from ensembles.engine.graphs import ALIKE, Graph

__all__ = ["Folder"]

_FOLDABLE = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
_FRESH = (*_FOLDABLE, nn.Linear, nn.BatchNorm1d, nn.BatchNorm2d, nn.LayerNorm, nn.GroupNorm)
_RELUS = {F.relu, torch.relu}
_NEW = {operator.add, torch.add, torch.cat, torch.Tensor.add_}


class Folder:
    """Makes graphs fast; layers that several graphs share are folded once.

    Args:
        kernel: What computes a convolution together with what comes after; None for nothing.

    Attributes:
        made: The layers that were folded; nothing else holds their weights.
    """

    def __init__(self, kernel: CheckedKernel | None = None) -> None:
        self.kernel = kernel
        self.made: list[nn.Module] = []
        self._known: dict[tuple[int, int], tuple[nn.Module, nn.Module, nn.Module | None]] = {}

    def folded(self, part: nn.Module) -> nn.Module:
        """Make a graph fast; what is no graph stays as it is.

        Args:
            part: The part; its layers are shared where they are not folded.
        """
        if isinstance(part, OnState):
            return OnState(self.folded(part.module), part.reads)
        if not isinstance(part, Graph):
            return part
        self._fold(part)
        _add_in_place(part)
        _write_in_place(part)
        if self.kernel is not None:
            fuse_convolutions(part, self.kernel)
        part.graph.eliminate_dead_code()
        part.delete_all_unused_submodules()
        part.compile_whole()
        return part

    def _fold(self, module: fx.GraphModule) -> None:
        """Fold each BatchNorm into the convolution or linear layer that alone feeds it."""
        for node in list(module.graph.nodes):
            if node.op != "call_module" or not node.args or not isinstance(node.args[0], fx.Node):
                continue
            norm = module.get_submodule(str(node.target))
            source = node.args[0]
            if not isinstance(norm, _BatchNorm) or source.op != "call_module":
                continue
            layer = module.get_submodule(str(source.target))
            if len(source.users) != 1 or norm.running_mean is None:
                continue
            folded = self._folded(layer, norm)
            if folded is None:
                continue
            self.made.append(folded)
            name = f"folded_{node.name}"
            module.add_submodule(name, folded)
            source.target = name
            node.replace_all_uses_with(source)
            module.graph.erase_node(node)

    def _folded(self, layer: nn.Module, norm: _BatchNorm) -> nn.Module | None:
        key = id(layer), id(norm)
        if key not in self._known:
            self._known[key] = layer, norm, _folded(layer, norm)  # held, so that ids stay theirs
        return self._known[key][2]


def _folded(layer: nn.Module, norm: _BatchNorm) -> nn.Module | None:
    """Fold in double precision, so that rounding enters once."""
    dtype = next(norm.buffers()).dtype
    if isinstance(layer, _FOLDABLE):
        statistics = _wide(norm.running_mean), _wide(norm.running_var)
        affine = _wide(norm.weight), _wide(norm.bias)
        tensors = fuse_conv_bn_weights(
            _wide(layer.weight), _wide(layer.bias), *statistics, norm.eps, *affine
        )
        made = copy.copy(layer)  # all but its weights is the same
        made._parameters = {
            name: nn.Parameter(tensor.detach().to(dtype), requires_grad=False)
            for name, tensor in zip(("weight", "bias"), tensors, strict=True)
        }
        return made
    if isinstance(layer, nn.Linear):
        pair = copy.deepcopy(layer).double().eval(), copy.deepcopy(norm).double().eval()
        return fuse_linear_bn_eval(*pair).to(dtype)
    return None


def _wide(tensor: Tensor | None) -> Any:
    return None if tensor is None else tensor.double()


def _add_in_place(module: fx.GraphModule) -> None:
    """Add to an operand of the sum's shape that is fresh and read by nobody else."""
    for node in module.graph.nodes:
        made = node.args[0] if node.meta.get(ALIKE) else None
        if isinstance(made, fx.Node) and len(made.users) == 1 and _makes_new(module, made):
            node.target = torch.Tensor.add_


def _write_in_place(module: fx.GraphModule) -> None:
    """Let activations overwrite an operand that is fresh and read by nobody else."""
    fresh: set[fx.Node] = set()
    for node in module.graph.nodes:
        if _makes_new(module, node):
            fresh.add(node)
        first = node.args[0] if node.args else None
        if not isinstance(first, fx.Node) or first not in fresh or len(first.users) != 1:
            continue
        if node.op == "call_function" and node.target in _RELUS:
            node.target, node.args, node.kwargs = torch.relu_, (first,), {}
            fresh.add(node)
        elif node.op == "call_module":
            activation = module.get_submodule(str(node.target))
            if getattr(activation, "inplace", None) is False:
                overwriting = copy.deepcopy(activation)
                overwriting.inplace = True  # type: ignore[assignment]
                name = f"in_place_{node.name}"
                module.add_submodule(name, overwriting)
                node.target = name
                fresh.add(node)


def _makes_new(module: nn.Module, node: fx.Node) -> bool:
    """Whether a node's value is a tensor of its own, no view and no input."""
    if node.op == "call_module":
        return isinstance(module.get_submodule(str(node.target)), _FRESH)
    return node.op == "call_function" and node.target in _NEW
