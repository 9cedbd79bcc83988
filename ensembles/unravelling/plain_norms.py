"""Normalisations written out as sums and products, whose derivatives are right in any layout.

The backward pass of torch's batch normalisation in evaluation mode, and of its instance
normalisation, mistakes the order in memory of the cotangents of a single image where what follows
turned its channels to the end, as before tokens are put side by side (seen with torch 2.15 on a
processor, by finite differences).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from inspect import signature
from types import SimpleNamespace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

__all__ = ["PlainNorms", "with_plain_norms"]


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
        if func not in (F.batch_norm, F.instance_norm):
            return func(*args, **given)
        found = signature(func).bind(*args, **given)
        found.apply_defaults()
        norm = SimpleNamespace(**found.arguments)
        if func is F.batch_norm and not norm.training:
            return _of_batch(norm)
        if func is F.instance_norm and norm.use_input_stats:
            return _of_instances(norm)
        return func(*args, **given)


def _of_batch(norm: SimpleNamespace) -> Tensor:
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
