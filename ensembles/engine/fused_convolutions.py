"""Convolutions that add, and cut off below 0, before what they made leaves the chip.

A convolution of few channels waits for memory: its bias, the sum with the shortcut and the ReLU
each read and write the whole activation once more. One kernel for all of them writes it once.
"""

from __future__ import annotations

import copy
import operator
import os
from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from ensembles.engine.checked_kernel import CheckedKernel
from ensembles.engine.graphs import ALIKE
from ensembles.errors import UsageError

__all__ = ["FusedConvolution", "fuse_convolutions", "kernel_for"]

_SWITCH = "ENSEMBLES_FUSED_CONVOLUTIONS"
"""Names the variable that is 0 where convolutions are not to be fused."""

_RELUS = {F.relu, torch.relu, torch.relu_, torch.Tensor.relu, torch.Tensor.relu_}
_SUMS = {operator.add, torch.add, torch.Tensor.add, torch.Tensor.add_}


class FusedConvolution(nn.Module):
    """A convolution, a sum with what stands beside it, and a ReLU, as one step.

    Args:
        conv: The convolution.
        kernel: What computes all at once, where it can.
        relu: Whether numbers below 0 become 0 in the end.
    """

    def __init__(self, conv: nn.Conv2d, kernel: CheckedKernel, *, relu: bool) -> None:
        super().__init__()
        self.conv, self.kernel, self.relu = conv, kernel, relu

    def forward(self, x: Tensor, other: Tensor | None = None) -> Tensor:
        """Map (N, C, H, W), and what is added, to what the three give one after the other."""
        made = self.kernel.run(self.conv, x, other, relu=self.relu)
        if made is not None:
            return made
        out: Tensor = self.conv(x)
        if other is not None:
            out = out.add_(other)
        return out.relu_() if self.relu else out

    def __deepcopy__(self, memo: dict[int, Any]) -> FusedConvolution:
        return FusedConvolution(copy.deepcopy(self.conv, memo), self.kernel, relu=self.relu)


def kernel_for(device: torch.device, dtype: torch.dtype) -> CheckedKernel | None:
    """What fuses convolutions on a device, in a type; None where it is of no use or not wanted.

    It was made for NVIDIA's GPUs that compute in bfloat16 (compute capability 8.0).

    Raises:
        UsageError: If the variable that switches it on is neither 0 nor 1.
    """
    if device.type != "cuda" or dtype != torch.bfloat16 or not _switched_on():
        return None
    if torch.version.hip is not None or torch.cuda.get_device_capability(device) < (8, 0):
        return None
    try:
        from ensembles.engine.convolution_kernel import FewChannels  # noqa: PLC0415 (Triton)
    except Exception:  # there is no Triton, or one for which the kernel was not written
        return None
    return CheckedKernel(FewChannels())


def _switched_on() -> bool:
    chosen = os.environ.get(_SWITCH, "1")
    if chosen not in ("0", "1"):
        raise UsageError(f"{_SWITCH} is '{chosen}'; expected 0 or 1")
    return chosen == "1"


def fuse_convolutions(module: fx.GraphModule, kernel: CheckedKernel) -> None:
    """Exchange convolutions for ones that also do what comes after, where nobody else reads them.

    Args:
        module: A graph without side effects but for sums and ReLUs in place, of values that
            nobody else reads. It is changed, and must be compiled anew.
        kernel: What computes the fused ones.
    """
    for node in list(module.graph.nodes):
        conv = _convolution(module, node)
        if conv is None or not kernel.fits(conv):
            continue
        last, other = node, None
        after = _only_reader(last)
        if after is not None and (beside := _added(after, last)) is not None:
            last, other = after, beside
            after = _only_reader(last)
        relu = False
        if after is not None and _is_relu(module, after):
            last, relu = after, True
        if last is node and conv.bias is None:
            continue
        given = (*node.args, *([] if other is None else [other]))
        name = f"fused_{node.name}"
        module.add_submodule(name, FusedConvolution(conv, kernel, relu=relu))
        with module.graph.inserting_before(last):
            fused = module.graph.call_module(name, given)
        last.replace_all_uses_with(fused)
        for old in _back_to(node, last):
            module.graph.erase_node(old)


def _convolution(module: nn.Module, node: fx.Node) -> nn.Conv2d | None:
    """The convolution that a node calls."""
    if node.op != "call_module" or len(node.args) != 1 or node.kwargs:
        return None
    conv = module.get_submodule(str(node.target))
    if type(conv) is not nn.Conv2d or conv._forward_hooks or conv._forward_pre_hooks:
        return None
    return conv


def _only_reader(node: fx.Node) -> fx.Node | None:
    return next(iter(node.users)) if len(node.users) == 1 else None


def _added(node: fx.Node, made: fx.Node) -> fx.Node | None:
    """What a node adds to what was made, where both have one shape."""
    if node.op != "call_function" or node.target not in _SUMS or node.kwargs:
        return None
    if not node.meta.get(ALIKE):
        return None
    others = [one for one in node.args if one is not made]
    return others[0] if len(others) == 1 and isinstance(others[0], fx.Node) else None


def _is_relu(module: nn.Module, node: fx.Node) -> bool:
    if node.op == "call_module":
        return type(module.get_submodule(str(node.target))) is nn.ReLU
    return node.op == "call_function" and node.target in _RELUS


def _back_to(first: fx.Node, last: fx.Node) -> Iterator[fx.Node]:
    """The nodes of a chain in which each is the only reader of the one before, the last first."""
    chain = [first]
    while chain[-1] is not last:
        chain.append(next(iter(chain[-1].users)))
    return reversed(chain)
