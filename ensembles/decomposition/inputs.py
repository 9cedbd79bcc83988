"""What a network takes: one tensor, or a tuple or mapping of tensors, the rows in dimension 0."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import torch
from torch import Tensor

from ensembles.data.rows import Inputs, mapped, named_tensors
from ensembles.decomposition.outputs import answer_of
from ensembles.errors import DecompositionError

__all__ = [
    "Inputs", "Shape", "called", "checked", "cloned", "described", "given_by", "mapped",
    "named_tensors", "names_of", "placed", "rows_of", "shapes_of", "take", "types_of",
]  # fmt: skip

Shape: TypeAlias = "tuple[int, ...]"


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


def names_of(inputs: Inputs) -> tuple[str, ...]:
    """Names of the tensors in order, those of a tuple by place from "1"; none for a single one."""
    return () if isinstance(inputs, Tensor) else tuple(named_tensors(inputs))


def types_of(inputs: Inputs) -> tuple[torch.dtype, ...]:
    """Type of the numbers of each tensor, in order."""
    return tuple(tensor.dtype for tensor in named_tensors(inputs).values())


def called(model: Callable[..., Any], inputs: Inputs) -> Any:
    """The logits that a model gives, or what else it gives where it gives none.

    A tuple holds its positional arguments, a mapping its keywords.
    """
    return answer_of(given_by(model, inputs), rows_of(inputs))[1]


def given_by(model: Callable[..., Any], inputs: Inputs) -> Any:
    """What a model gives, as it gives it."""
    if isinstance(inputs, Tensor):
        return model(inputs)
    return model(*inputs) if isinstance(inputs, tuple) else model(**inputs)


def described(inputs: Any) -> str:
    """Anything that was given as inputs, for a message.

    >>> described((torch.zeros(2, 5), torch.zeros(2)))
    'tensors of shape (2, 5) and (2,)'
    """
    if isinstance(inputs, Tensor):
        return f"a tensor of shape {tuple(inputs.shape)}"
    if not isinstance(inputs, (tuple, list, Mapping)):
        return f"a {type(inputs).__name__}"
    items = list(inputs.values()) if isinstance(inputs, Mapping) else inputs
    if not items:
        return f"an empty {type(inputs).__name__}"
    strange = [name for name in inputs if not isinstance(name, str)]
    if isinstance(inputs, Mapping) and strange:
        return f"a {type(inputs).__name__} with a key of type {type(strange[0]).__name__}"
    if not all(isinstance(item, Tensor) for item in items):
        kinds = " and ".join(dict.fromkeys(type(item).__name__ for item in items))
        return f"a {type(inputs).__name__} of {kinds}"
    return "tensors of shape " + " and ".join(str(tuple(item.shape)) for item in items)


def checked(example: Any) -> Inputs:
    """An example as inputs, unless it is none.

    Args:
        example: A tensor of two dimensions or more, or a tuple, list or mapping of tensors, the
            rows in dimension 0 of each.

    Raises:
        DecompositionError: Saying what was found and what is expected.
    """
    inputs: Any = example
    if isinstance(example, Mapping):
        inputs = dict(example)
    elif isinstance(example, list):
        inputs = tuple(example)
    if not isinstance(inputs, (Tensor, tuple, dict)) or not _are_rows(inputs):
        raise DecompositionError(
            f"the example is {described(example)}; expected a tensor with the rows in its first "
            "dimension, such as images (images, channels, height, width) or ids (rows, tokens), "
            "or a tuple or mapping of such tensors for a model with several inputs"
        )
    rows = {name: len(tensor) for name, tensor in named_tensors(inputs).items()}
    if len(set(rows.values())) > 1:
        raise DecompositionError(
            "the inputs of the example hold "
            + ", ".join(f"{count} rows ({name})" for name, count in rows.items())
            + "; expected as many of each"
        )
    return inputs


def _are_rows(inputs: Tensor | tuple[Any, ...] | dict[Any, Any]) -> bool:
    """Whether all are tensors with rows in dimension 0."""
    if isinstance(inputs, Tensor):
        return inputs.ndim > 1 and len(inputs) > 0
    named = isinstance(inputs, tuple) or all(isinstance(name, str) for name in inputs)
    parts = inputs if isinstance(inputs, tuple) else inputs.values()
    rows = (isinstance(part, Tensor) and part.ndim > 0 and len(part) > 0 for part in parts)
    return named and len(inputs) > 0 and all(rows)
