"""How a call is written into a graph: as an operation without side effects."""

from __future__ import annotations

import inspect
import operator
from collections.abc import Callable
from typing import Any, TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence

from ensembles.decomposition.grouped_products import GROUPED, grouped_product

__all__ = [
    "UnfollowableError", "Written", "assigned", "described", "name_of", "pure", "settled",
    "unpacked",
]  # fmt: skip

Written: TypeAlias = "tuple[str, Any, Any, Any]"
"""Kind of a node, target, arguments and keywords."""

_ADDS: set[Any] = {torch.add, torch.ops.aten.add.Tensor}
_CONCATS = (torch.concat, torch.concatenate, torch.ops.aten.cat.default)
_WRITTEN: dict[Any, Any] = {
    **dict.fromkeys(_CONCATS, torch.cat),
    **dict.fromkeys(GROUPED, grouped_product),
}
"""What stands in a graph for functions that do the same, or less."""


class UnfollowableError(Exception):
    """The model does what a recording cannot write down; exporting may."""


def assigned(x: Tensor, index: Any, value: Any) -> Tensor:
    """``x`` with ``x[index] = value`` done to a copy."""
    out = x.clone()
    out[index] = value
    return out


def unpacked(args: Any, kwargs: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The arguments of a call, none of which is a packed sequence.

    Raises:
        UnfollowableError: If one is: its rows end at different places.
    """
    if any(isinstance(one, PackedSequence) for one in (*args, *kwargs.values())):
        raise UnfollowableError("it packs sequences of several lengths (pack_padded_sequence)")
    return tuple(args), dict(kwargs)


def name_of(func: Any) -> str:
    """The bare name of a function or method."""
    name = str(getattr(func, "__name__", func))
    if name == "__get__":
        return str(func.__self__.__name__)
    return name.partition(".")[0] if isinstance(func, torch._ops.OpOverload) else name


def described(func: Any, name: str, args: Any, kwargs: Any) -> Written:
    """How a call without side effects is written into a graph."""
    adds = func in _ADDS or (_is_method(func) and name in ("add", "__add__", "__radd__"))
    if adds and not kwargs and len(args) == 2:
        return "call_function", operator.add, args, kwargs
    if func in _WRITTEN:
        return "call_function", _WRITTEN[func], args, kwargs
    if getattr(func, "__name__", "") == "__get__":
        return "call_function", getattr, (args[0], name), {}
    if name == "__getitem__":
        return "call_function", operator.getitem, args, kwargs
    if _is_method(func):
        if name == "view" and not any(isinstance(arg, torch.dtype) for arg in args):
            name = "reshape"  # the same without the demand on the layout in memory
        return "call_method", name, args, kwargs
    return "call_function", func, args, kwargs


def settled(func: Any, name: str, written: Any, out: Tensor) -> tuple[Any, str, Any]:
    """A call that takes its type from a tensor, with the type that it took."""
    if name == "new_tensor" and isinstance(written[0][1], (int, float, list, tuple)):
        style = {"dtype": out.dtype, "device": out.device}
        return torch.tensor, "tensor", ((written[0][1],), style)
    return func, name, ((written[0][0], out.dtype), {}) if name == "to" else written


def _is_method(func: Any) -> bool:
    owner = str(getattr(func, "__qualname__", "")).rpartition(".")[0]
    return owner in ("Tensor", "TensorBase", "_TensorBase")


def pure(func: Any, name: str, args: Any, kwargs: Any) -> Written:
    """The operation that gives as a new tensor what this one does in place."""
    if name == "__setitem__":
        return "call_function", assigned, args, kwargs
    if name == "copy_":
        return "call_function", assigned, (args[0], Ellipsis, args[1]), {}
    if inspect.isfunction(func) and "inplace" in inspect.signature(func).parameters:
        bound = inspect.signature(func).bind(*args, **kwargs)
        bound.arguments["inplace"] = False
        return "call_function", func, bound.args, bound.kwargs
    bare = f"__{name[3:]}" if name.startswith("__i") else name.removesuffix("_")
    other = _out_of_place(func, bare)
    if bare == name or other is None:
        raise UnfollowableError(f"{name} works in place and has no pure form")
    return described(other, name_of(other), args, kwargs)


def _out_of_place(func: Any, bare: str) -> Callable[..., Any] | None:
    if isinstance(func, torch._ops.OpOverload):
        packet = getattr(torch.ops.aten, bare, None)
        return getattr(packet, func._overloadname, None)
    homes: tuple[Any, ...] = (Tensor,) if _is_method(func) else (torch, F)
    for home in (*homes, torch):
        found: Callable[..., Any] | None = getattr(home, bare, None)
        if found is not None:
            return found
    return None
