"""One item of data of tokens: ids with what stands beside them, and what is predicted."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

from ensembles.errors import DataError

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["BESIDE", "IDS", "IGNORED", "MASK", "TokenInputs", "ids_of", "item_of"]

IDS, MASK, LABELS = "input_ids", "attention_mask", "labels"
BESIDE = (MASK, "position_ids", "token_type_ids")
"""What a network of tokens may take beside ids."""

IGNORED = -100
"""The label of a token that is not predicted, as in transformers."""

TokenInputs: TypeAlias = "Tensor | dict[str, Tensor]"

_EXPECTED = "expected whole numbers, the ids of the tokens of a window (T,) or of windows (N, T)"


def ids_of(inputs: Any) -> Tensor:
    """The ids (N, T) among inputs."""
    found: Tensor = inputs[IDS] if isinstance(inputs, Mapping) else inputs
    return found


def item_of(item: Any, number: int) -> tuple[TokenInputs, Tensor | None]:
    """One item as windows (N, T), by themselves or with masks and positions; and its labels.

    Args:
        item: Ids as a tensor, an array or lists of numbers, alone or in a tuple of one; or a
            mapping with `input_ids` and, each of the same shape, `attention_mask`,
            `position_ids`, `token_type_ids` and `labels`, whatever there is.
        number: Its number in the data, for messages.

    Returns:
        The inputs, and the labels (N, T), -100 where nothing is predicted; None where there are
        none.

    Raises:
        DataError: Saying what was found and what was expected.
    """
    import torch  # noqa: PLC0415

    if isinstance(item, Mapping):
        if IDS not in item:
            keys = ", ".join(map(str, item)) or "nothing"
            raise DataError(
                f"item {number} of the data is a mapping with {keys}; expected one with input_ids"
            )
        ids = _ids(item[IDS], number)
        beside = {
            name: _like(item[name], ids, name, number)
            for name in (*BESIDE, LABELS)
            if item.get(name) is not None
        }
        labels = beside.pop(LABELS, None)
        return {IDS: ids, **beside} if beside else ids, labels
    if isinstance(item, tuple | list) and any(isinstance(x, torch.Tensor) for x in item):
        if len(item) > 1:
            raise DataError(
                f"item {number} of the data is a {type(item).__name__} of {len(item)}; expected "
                "the ids alone, or a mapping with input_ids, and attention_mask or labels by name"
            )
        item = item[0]
    return _ids(item, number), None


def _ids(value: Any, number: int) -> Tensor:
    """Ids (N, T)."""
    import torch  # noqa: PLC0415

    from ensembles.data.items import tensor, type_name  # noqa: PLC0415 (imports torch)

    ids = tensor(value, "window", number)
    if ids.is_floating_point() or ids.is_complex() or ids.dtype == torch.bool:
        raise DataError(f"item {number} of the data is of type {type_name(ids.dtype)}; {_EXPECTED}")
    if ids.ndim == 1:
        ids = ids.unsqueeze(0)
    if ids.ndim != 2:
        raise DataError(f"item {number} of the data is of shape {tuple(ids.shape)}; {_EXPECTED}")
    if ids.shape[1] < 2:
        raise DataError(
            f"item {number} of the data is a window of {ids.shape[1]} tokens, of which none is "
            "predicted; expected at least 2"
        )
    if ids.numel() and int(ids.min()) < 0:
        raise DataError(
            f"item {number} of the data has the token {int(ids.min())}; expected ids from 0, with "
            "padding marked by an attention_mask"
        )
    return ids.long()


def _like(value: Any, ids: Tensor, name: str, number: int) -> Tensor:
    """What stands beside ids, of their shape."""
    from ensembles.data.items import tensor  # noqa: PLC0415 (imports torch)

    found = tensor(value, name, number)
    found = found.unsqueeze(0) if found.ndim == 1 else found
    if found.shape != ids.shape or found.is_floating_point():
        kind = "real" if found.is_floating_point() else "whole"
        raise DataError(
            f"item {number} of the data has {name} of {kind} numbers, {tuple(found.shape)}; "
            f"expected whole numbers like its input_ids, {tuple(ids.shape)}"
        )
    return found.long()
