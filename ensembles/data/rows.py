"""What a network takes, row by row: one tensor, or a tuple or mapping of tensors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias, TypeVar, cast

import torch
from torch import Tensor

__all__ = ["Form", "Inputs", "form_of", "joined", "mapped", "named_tensors"]

Inputs: TypeAlias = Tensor | tuple[Tensor, ...] | dict[str, Tensor]
"""A tensor, or a tuple or mapping of tensors, the rows in dimension 0."""

InputsT = TypeVar("InputsT", bound=Inputs)

Form: TypeAlias = tuple[tuple[str, tuple[int, ...], torch.dtype], ...]
"""Name, shape of a row and type of each tensor; the name is empty for a tensor by itself."""


def named_tensors(inputs: Inputs) -> dict[str, Tensor]:
    """The tensors by their names; those of a tuple are numbered, one by itself has none."""
    if isinstance(inputs, Tensor):
        return {"": inputs}
    if isinstance(inputs, tuple):
        return {str(number): part for number, part in enumerate(inputs, 1)}
    return inputs


def mapped(change: Callable[[Tensor], Tensor], inputs: Inputs) -> Inputs:
    """The same with every tensor changed."""
    if isinstance(inputs, Tensor):
        return change(inputs)
    if isinstance(inputs, tuple):
        return tuple(change(part) for part in inputs)
    return {name: change(part) for name, part in inputs.items()}


def form_of(inputs: Inputs) -> Form:
    """What all rows of a data set must have in common; names may come in any order."""
    named = named_tensors(inputs)
    return tuple((name, tuple(named[name].shape[1:]), named[name].dtype) for name in sorted(named))


def joined(several: Sequence[InputsT]) -> InputsT:
    """The rows of several inputs of one form, in their order.

    Nothing is copied where only one of them holds any.
    """
    filled = [one for one in several if len(next(iter(named_tensors(one).values())))] or several[:1]
    if len(filled) == 1:
        return filled[0]
    parts = [named_tensors(one) for one in filled]
    whole = iter([torch.cat([one[name] for one in parts]) for name in parts[0]])
    return cast("InputsT", mapped(lambda _: next(whole), filled[0]))
