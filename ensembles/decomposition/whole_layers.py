"""Mixtures of experts whose steps follow from what a router chose, each taken as one layer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from torch import Tensor, nn

from ensembles.decomposition.inputs import Inputs, called, cloned
from ensembles.decomposition.private_copy import is_leaf, take_whole

__all__ = ["taken_whole"]


def taken_whole(model: nn.Module, scope: str, example: Inputs) -> bool:
    """Mark the innermost module around a place as one layer, and all others of its class.

    It must give tensors alone: a number would be that of this batch.

    Args:
        model: A private copy.
        scope: The module in which steps follow from what a router chose.
        example: A batch of inputs.

    Returns:
        Whether there is such a module.
    """
    parts = scope.split(".")
    around = [".".join(parts[:length]) for length in range(len(parts), 0, -1)]
    fit = _giving_tensors(model, around, example)
    if not fit:
        return False
    kind = type(model.get_submodule(fit[0]))
    for module in model.modules():
        if type(module) is kind:
            take_whole(module)
    return True


def _giving_tensors(model: nn.Module, names: Sequence[str], example: Inputs) -> list[str]:
    """The modules that run once, are no layers yet, and give tensors alone, in their order."""
    given: dict[str, list[Any]] = {name: [] for name in names}

    def keep(name: str) -> Any:
        return lambda _module, _args, out: given[name].append(out)

    inner = [name for name in names if not is_leaf(model.get_submodule(name))]
    handles = [model.get_submodule(name).register_forward_hook(keep(name)) for name in inner]
    try:
        called(model, cloned(example))
    finally:
        for handle in handles:
            handle.remove()
    return [name for name in names if len(given[name]) == 1 and all(_tensors(given[name][0]))]


def _tensors(out: Any) -> Iterator[bool]:
    """Of each thing that a module gave, whether it is a tensor or nothing."""
    if isinstance(out, (tuple, list)):
        for one in out:
            yield from _tensors(one)
    else:
        yield out is None or isinstance(out, Tensor)
