"""What a model gives: a tensor of logits, or an object, a tuple or a mapping that holds one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from typing import Any

from torch import Tensor

__all__ = ["answer_of", "contents"]

_LOGITS = "logits"


def answer_of(out: Any, rows: int) -> tuple[str, Any]:
    """The logits in what a model gave, and what they are called there.

    Args:
        out: A tensor; or an object, a tuple or a mapping with ``logits`` or, where there are none,
            with a tensor that fits, of which the first is taken.
        rows: How many rows of inputs there were.

    Returns:
        The name ("" for a tensor by itself, its place from 1 in a tuple), and the tensor; whatever
        was given, under "", where no tensor fits.
    """
    if isinstance(out, Tensor):
        return "", out
    found = dict(contents(out))
    if isinstance(found.get(_LOGITS), Tensor):
        return _LOGITS, found[_LOGITS]
    for name, part in found.items():
        if _fits(part, rows):
            return name, part
    return "", out


def contents(out: Any) -> Iterator[tuple[str, Any]]:
    """What an output holds, by its names, or by place from 1."""
    if isinstance(out, Mapping):
        yield from ((str(name), part) for name, part in out.items())
    elif hasattr(out, "_fields"):  # a named tuple
        yield from zip(out._fields, out, strict=True)
    elif isinstance(out, tuple | list):
        yield from ((str(place), part) for place, part in enumerate(out, 1))
    elif is_dataclass(out) and not isinstance(out, type):
        yield from ((one.name, getattr(out, one.name)) for one in fields(out))
    elif isinstance(getattr(out, _LOGITS, None), Tensor):
        yield _LOGITS, out.logits


def _fits(part: Any, rows: int) -> bool:
    logits = isinstance(part, Tensor) and part.is_floating_point()
    return logits and part.ndim > 1 and len(part) == rows and part.numel() > 0
