"""Normalisations written out as sums and products, whose derivatives are right in any layout.

The backward passes of torch's batch normalisation in evaluation mode, and of its instance
normalisation, mistake the order in memory of the cotangents of a single image or video where what
follows turned its channels to the end, as before tokens (torch 2.15 on a processor; held against
finite differences in double precision by tests/test_plain_norms.py). Two images are right, and so
are sequences, and both under vmap.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

from ensembles.decomposition.norms import BATCH_NORM_ARGUMENTS

__all__ = ["PlainNorms", "with_plain_norms"]

_OF_LAYERS = ("running_mean", "running_var", "weight", "bias")
_REST = ("use_input_stats", "momentum", "eps")
_INSTANCE_NORM_ARGUMENTS: dict[Any, tuple[str, ...]] = {
    F.instance_norm: ("input", *_OF_LAYERS, *_REST),
    torch.instance_norm: ("input", "weight", "bias", "running_mean", "running_var", *_REST),
}
_INSTANCE_NORM_ARGUMENTS[torch.ops.aten.instance_norm.default] = _INSTANCE_NORM_ARGUMENTS[
    torch.instance_norm
]
_ARGUMENTS = {
    func: names for func, names in BATCH_NORM_ARGUMENTS.items() if "training" in names
} | _INSTANCE_NORM_ARGUMENTS
_DEFAULTS: dict[str, Any] = {
    **dict.fromkeys(_OF_LAYERS), "training": False, "use_input_stats": True, "eps": 1e-5,
}  # fmt: skip


def with_plain_norms(function: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """The same function, whose batch and instance normalisations are sums and products."""

    def run(x: Tensor) -> Tensor:
        with PlainNorms():
            return function(x)

    return run


class PlainNorms(TorchFunctionMode):
    """Within it, batch and instance normalisations are sums and products."""

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Run a torch function, or what a normalisation stands for."""
        given = dict(kwargs or {})
        names = _ARGUMENTS.get(func)
        if names is None:
            return func(*args, **given)
        norm = SimpleNamespace(**{**_DEFAULTS, **dict(zip(names, args, strict=False)), **given})
        if func in _INSTANCE_NORM_ARGUMENTS and norm.use_input_stats:
            return _of_instances(norm)
        if norm.training:
            return func(*args, **given)
        return _by_statistics(norm)


def _by_statistics(norm: SimpleNamespace) -> Tensor:
    """Normalisation (N, C, ...) by running statistics."""
    x: Tensor = norm.input
    scale = torch.rsqrt(norm.running_var + norm.eps)
    moved = x - _of_channels(norm.running_mean, x)
    return _affine(moved * _of_channels(scale, x), norm)


def _of_instances(norm: SimpleNamespace) -> Tensor:
    """Normalisation (N, C, ...) of each channel of each image."""
    x: Tensor = norm.input
    dims = tuple(range(2, x.ndim))
    moved = x - x.mean(dims, keepdim=True)
    variance = moved.square().mean(dims, keepdim=True)
    return _affine(moved * torch.rsqrt(variance + norm.eps), norm)


def _affine(x: Tensor, norm: SimpleNamespace) -> Tensor:
    x = x if norm.weight is None else x * _of_channels(norm.weight, x)
    return x if norm.bias is None else x + _of_channels(norm.bias, x)


def _of_channels(values: Tensor, x: Tensor) -> Tensor:
    return values.view(-1, *[1] * (x.ndim - 2))
