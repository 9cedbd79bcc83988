"""What a recording asks of tensors and of autograd, besides values."""

from __future__ import annotations

import functools
import inspect
import weakref
from collections.abc import Collection, Iterable, Iterator
from types import CodeType
from typing import Any, NamedTuple

import torch
from torch import Tensor, fx

__all__ = [
    "Known", "codes_of", "custom_function", "forget", "is_among", "runs_in", "storage",
    "tensors_in", "version",
]  # fmt: skip


class Known(NamedTuple):
    """A tensor that was seen: forgotten when it ends, so that its id stays its own."""

    tensor: weakref.ref[Tensor]
    node: fx.Node
    version: int
    source: Tensor | None


def forget(
    known: dict[int, Known], views: dict[int, Any], key: int, ended: weakref.ref[Tensor]
) -> None:
    """Leave out a tensor that is there no more."""
    if key in known and known[key].tensor is ended:
        del known[key]
        views.pop(key, None)


def storage(tensor: Any) -> Any:
    """What a tensor is a view of; itself where it is none."""
    base = tensor._base if isinstance(tensor, Tensor) else None
    return tensor if base is None else base


def version(tensor: Tensor) -> int:
    """How often a tensor was changed in place; tensors of inference mode do not count it."""
    return 0 if tensor.is_inference() else tensor._version


def custom_function() -> str | None:
    """The custom function of autograd within whose `forward` this runs, if there is one."""
    names = {}
    open_classes: list[type] = [torch.autograd.Function]
    while open_classes:
        cls = open_classes.pop()
        open_classes += cls.__subclasses__()
        names[getattr(cls.forward, "__code__", None)] = cls.__name__  # type: ignore[attr-defined]
    del names[getattr(torch.autograd.Function.forward, "__code__", None)]
    frame = inspect.currentframe()
    while frame is not None:
        if frame.f_code in names:
            return names[frame.f_code]
        frame = frame.f_back
    return None


def codes_of(hooks: Iterable[Any]) -> set[CodeType]:
    """The code that runs when hooks are called."""
    found = set()
    for hook in hooks:
        bare = hook
        while isinstance(bare, functools.partial):
            bare = bare.func
        called = bare if hasattr(bare, "__code__") else type(bare).__call__
        code = getattr(called, "__code__", None)
        if isinstance(code, CodeType):
            found.add(code)
    return found


def runs_in(codes: Collection[CodeType]) -> bool:
    """Whether one of these is running now."""
    frame = inspect.currentframe() if codes else None
    while frame is not None:
        if frame.f_code in codes:
            return True
        frame = frame.f_back
    return False


def tensors_in(value: Any) -> Iterator[Tensor]:
    """The tensors in arguments or results, however they are held."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from tensors_in(item)
    elif isinstance(value, (tuple, list)):
        for item in value:
            yield from tensors_in(item)


def is_among(tensor: Tensor, others: list[Tensor]) -> bool:
    """Whether a tensor itself is one of several."""
    return any(tensor is other for other in others)
