"""A network of tokens taken apart for windows of other lengths, with the same weights."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from ensembles.decomposition.inputs import Inputs, mapped, named_tensors
from ensembles.errors import DecompositionError

if TYPE_CHECKING:
    from ensembles.decomposition.network import Decomposition

__all__ = ["OtherLengths", "windows_alone"]


class OtherLengths:
    """Takes a model apart for windows of other lengths, once for each; copies are the same object.

    Args:
        model: The model; it is kept.
        example: What it was taken apart by: ids, or ids with masks and positions by name.
        again: Takes the model apart with another example, with the options of the first time.
    """

    def __init__(
        self, model: nn.Module, example: Inputs, again: Callable[[Inputs], Decomposition]
    ) -> None:
        self.model, self._again = model, again
        self._example = mapped(lambda rows: rows.detach().cpu().clone(), example)
        self._known: dict[int, Decomposition] = {}

    def __deepcopy__(self, _: Any) -> OtherLengths:
        return self

    def __reduce__(self) -> Any:
        return (_none, ())  # a model of the user's own may not be picklable

    def of(self, net: Decomposition, length: int) -> Decomposition:
        """The network for windows of a length, its weights those of a network in memory.

        Args:
            net: The network whose weights are taken.
            length: Tokens of a window.

        Raises:
            DecompositionError: If it is taken apart into other weights at that length, or cannot
                be taken apart so.
        """
        if length < 2:
            raise DecompositionError(f"windows of {length} tokens; expected at least 2")
        if length not in self._known:
            place = next(self.model.parameters()).device
            rows = mapped(lambda one: _of_length(one, length).to(place), self._example)
            self._known[length] = self._again(rows)
        found, own = self._known[length], dict(net.named_parameters())
        theirs = dict(found.named_parameters())
        if {n: p.shape for n, p in own.items()} != {n: p.shape for n, p in theirs.items()}:
            raise DecompositionError(
                f"{net.model_name} has other parts for windows of {length} tokens; take it apart "
                "with such an example"
            )
        first = next(iter(own.values()))
        found.to(first.device)
        for name, weight in theirs.items():
            weight.data = own[name].data
        return found


def _of_length(rows: Tensor, length: int) -> Tensor:
    """Rows (N, T) repeated or cut; positions that count from 0 go on counting."""
    size = rows.shape[1]
    if bool((rows == torch.arange(size)).all()):
        return torch.arange(length).expand(len(rows), length).clone()
    return rows.repeat(1, -(-length // size))[:, :length].clone()


def _none() -> None:
    return None


def windows_alone(inputs: Inputs) -> bool:
    """Whether inputs are whole numbers alone, a row of them for each window."""
    parts = named_tensors(inputs).values()
    return all(part.ndim == 2 and not part.is_floating_point() for part in parts)
