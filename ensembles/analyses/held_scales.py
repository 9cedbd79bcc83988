"""Norms whose scales are held: a norm divides by what it divided by before, whatever it reads."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from ensembles.errors import UsageError

__all__ = ["HeldScales"]

_aten = torch.ops.aten


class HeldScales:
    """The scales of norms in parts of a network, kept from one run and held in others.

    LayerNorm, GroupNorm and RMSNorm divide by a scale that is made of what they read (the
    deviation, the root mean square); so do norms that are written out, by their root. BatchNorm's
    scale is fixed already. A mean that is taken off first follows what is read: it is linear.

    Attributes:
        kept: Of each part that was run, by what it is called, the scales in the order of use.
    """

    def __init__(self) -> None:
        self.kept: dict[str, list[Tensor]] = {}

    def __bool__(self) -> bool:
        """Whether any part has such norms."""
        return any(self.kept.values())

    @contextmanager
    def keeping(self, key: str) -> Iterator[None]:
        """Keep the scales of what is run inside, under what it is called."""
        scales: list[Tensor] = []
        with _Keep(scales):
            yield
        self.kept[key] = scales

    @contextmanager
    def holding(self, key: str) -> Iterator[None]:
        """Run the same part again with the scales that were kept.

        Raises:
            UsageError: If it runs other norms than it did.
        """
        scales = list(self.kept[key])
        with _Hold(scales):
            yield
        if scales:
            raise UsageError(
                f"{len(scales)} norms of {key} did not run again, so that their scales cannot be "
                "held; expected a part that always runs the same norms"
            )


class _Watched(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Sees the norms that run, however they are called.

    Args:
        scales: Their scales, in the order of use.
    """

    def __init__(self, scales: list[Tensor]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.scales = scales

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        named = kwargs or {}
        if func in _NORMS or _is_root(func, args):
            return self.norm(func, args, named)
        with self:  # in inference mode a norm comes as a whole
            made = func.decompose(*args, **named)
        return func(*args, **named) if made is NotImplemented else made

    def norm(self, func: Any, args: Any, kwargs: Any) -> Any:
        """Run a norm, or the root of one that is written out."""
        raise NotImplementedError


class _Keep(_Watched):  # type: ignore[no-untyped-call]
    """Appends every scale to the list."""

    def norm(self, func: Any, args: Any, kwargs: Any) -> Any:
        out = func(*args, **kwargs)
        self.scales.append(out[-1] if func in _NORMS else out)
        return out


class _Hold(_Watched):  # type: ignore[no-untyped-call]
    """Takes the scales from the list."""

    def norm(self, func: Any, args: Any, kwargs: Any) -> Any:
        if not self.scales:
            raise UsageError(
                f"{func} runs where it did not before, so that it has no scale to hold; expected a "
                "part that always runs the same norms"
            )
        scale = self.scales.pop(0)
        return _NORMS[func](scale, *args, **kwargs) if func in _NORMS else scale


def _is_root(func: Any, args: Any) -> bool:
    """Whether an operation is the root of a norm that is written out."""
    return func in _ROOTS or (func is _POWER and args[1] in (0.5, -0.5))


def _layer_norm(  # noqa: PLR0917
    scale: Tensor, x: Tensor, shape: Any, weight: Tensor | None, bias: Tensor | None, eps: float
) -> tuple[Tensor, Tensor, Tensor]:
    mean = x.mean(tuple(range(-len(shape), 0)), keepdim=True)
    return _times(x - mean, scale, weight, bias), mean, scale


def _group_norm(
    scale: Tensor, x: Tensor, weight: Tensor | None, bias: Tensor | None, *sizes: Any
) -> tuple[Tensor, Tensor, Tensor]:
    rows, channels, _, groups, _ = sizes
    parts = x.reshape(rows, groups, -1)
    mean = parts.mean(-1, keepdim=True)
    out = ((parts - mean) * scale.reshape(rows, groups, 1)).reshape(x.shape)
    wide = (1, channels, *[1] * (x.ndim - 2))
    weight, bias = (None if one is None else one.reshape(wide) for one in (weight, bias))
    return _times(out, None, weight, bias), mean.reshape(rows, groups), scale


def _rms_norm(
    scale: Tensor, x: Tensor, shape: Any, weight: Tensor | None, eps: float | None
) -> tuple[Tensor, Tensor]:
    return _times(x, scale, weight, None), scale


def _times(x: Tensor, scale: Tensor | None, weight: Tensor | None, bias: Tensor | None) -> Tensor:
    out = x if scale is None else (x * scale).to(x.dtype)
    out = out if weight is None else out * weight
    return out if bias is None else out + bias


_NORMS: dict[Any, Any] = {
    _aten.native_layer_norm.default: _layer_norm,
    _aten.native_group_norm.default: _group_norm,
}
"""Norms that give their scale last, and what they compute from a given one."""

if hasattr(_aten, "_fused_rms_norm"):
    _NORMS[_aten._fused_rms_norm.default] = _rms_norm

_ROOTS = {_aten.rsqrt.default, _aten.sqrt.default, _aten.linalg_vector_norm.default}
"""What norms that are written out divide or multiply by."""

_POWER = _aten.pow.Tensor_Scalar
