"""What a network takes: one tensor, or a tuple or mapping of tensors, the rows in dimension 0."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import torch
from torch import Tensor

__all__ = [
    "Inputs", "cloned", "described", "mapped", "named_tensors", "placed", "rows_of", "shapes_of",
    "take",
]  # fmt: skip

Inputs: TypeAlias = "Tensor | tuple[Tensor, ...] | dict[str, Tensor]"
"""A tensor; a tuple of tensors, which are positional arguments; or a mapping of keywords."""

Shape: TypeAlias = "tuple[int, ...]"


def named_tensors(inputs: Inputs) -> dict[str, Tensor]:
    """The tensors of inputs by name: by keyword, by place from "0", or "" for a single one."""
    if isinstance(inputs, Tensor):
        return {"": inputs}
    if isinstance(inputs, Mapping):
        return dict(inputs)
    return {str(place): tensor for place, tensor in enumerate(inputs)}


def mapped(function: Callable[[Tensor], Tensor], inputs: Inputs) -> Inputs:
    """Inputs of the same form, each tensor changed."""
    if isinstance(inputs, Tensor):
        return function(inputs)
    if isinstance(inputs, Mapping):
        return {name: function(tensor) for name, tensor in inputs.items()}
    return tuple(function(tensor) for tensor in inputs)


def rows_of(inputs: Inputs) -> int:
    """How many rows inputs hold.

    >>> rows_of((torch.zeros(3, 2), torch.zeros(3)))
    3
    """
    return len(next(iter(named_tensors(inputs).values())))


def take(inputs: Inputs, rows: slice | Tensor) -> Inputs:
    """Some rows, by a slice or by their numbers."""
    return mapped(lambda tensor: tensor[rows], inputs)


def placed(inputs: Inputs, device: torch.device | str, dtype: torch.dtype | None = None) -> Inputs:
    """Inputs on a device; floating ones also in a type, others as they are."""

    def place(tensor: Tensor) -> Tensor:
        kind = dtype if tensor.is_floating_point() else None
        return tensor.to(device=device, dtype=kind, non_blocking=True)

    return mapped(place, inputs)


def cloned(inputs: Inputs) -> Inputs:
    """Inputs that a model may overwrite."""
    return mapped(lambda tensor: tensor.detach().clone(), inputs)


def shapes_of(inputs: Inputs) -> Shape | tuple[Shape, ...]:
    """Shape of one row of a single tensor, else of each tensor in order.

    >>> shapes_of(torch.zeros(8, 3, 4, 4))
    (3, 4, 4)
    >>> shapes_of({"ids": torch.zeros(8, 5), "mask": torch.zeros(8, 1, 5)})
    ((5,), (1, 5))
    """
    if isinstance(inputs, Tensor):
        return tuple(inputs.shape[1:])
    return tuple(tuple(tensor.shape[1:]) for tensor in named_tensors(inputs).values())


def described(inputs: Any) -> str:
    """Anything that was given as inputs, for a message.

    >>> described((torch.zeros(2, 5), torch.zeros(2)))
    'tensors of shape (2, 5) and (2,)'
    """
    if isinstance(inputs, Tensor):
        return f"a tensor of shape {tuple(inputs.shape)}"
    items = list(inputs.values()) if isinstance(inputs, Mapping) else inputs
    if not isinstance(items, (tuple, list)) or not items:
        return f"a {type(inputs).__name__}" + (" of nothing" if items == [] else "")
    if not all(isinstance(item, Tensor) for item in items):
        kinds = " and ".join(sorted({type(item).__name__ for item in items}))
        return f"a {type(inputs).__name__} of {kinds}"
    return "tensors of shape " + " and ".join(str(tuple(item.shape)) for item in items)
