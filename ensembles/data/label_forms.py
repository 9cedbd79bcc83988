"""Labels in the forms that people have them in, as class numbers where there is no doubt."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from ensembles.errors import DataError

__all__ = ["read_labels"]

_MOST_SHOWN = 40


def read_labels(
    value: Any, tensor: Tensor | None, rows: int | None, number: int
) -> tuple[Tensor, str]:
    """Labels of one item as class numbers.

    Whole numbers (N,), or one for a single row, stay as they are. Read as such are a column (N, 1),
    one-hot rows (N, K), floating point that is whole, true and false, and texts of whole numbers.

    Args:
        value: The labels as they lie in the item.
        tensor: The same as a tensor, if it is numbers.
        rows: How many rows the item has; None if it is one row by itself.
        number: Number of the item, for messages.

    Returns:
        int64, (N,) or (); and what was done to them, in words, "" for nothing.

    Raises:
        DataError: When they are no class numbers, or may be several things.
    """
    done = []
    if tensor is None:
        tensor = _of_texts(value, number)
        done.append("texts as the numbers that they write")
    tensor, how = _of_shape(tensor, rows)
    done += how
    if tensor.is_complex():
        raise _wrong_type(tensor, number)
    if tensor.is_floating_point() or tensor.dtype == torch.bool:
        if not bool((tensor == tensor.round()).all() if tensor.is_floating_point() else True):
            raise _wrong_type(tensor, number)
        done.append("true and false as 1 and 0" if tensor.dtype == torch.bool else "floating point "
                    "that is whole as class numbers")  # fmt: skip
    if tensor.numel() and int(tensor.min()) < 0:
        low = int(tensor.min())
        hint = "; -1 marks data without labels" if low == -1 else ""
        raise DataError(
            f"item {number} of the data has the label {low}; expected class numbers from 0{hint}"
        )
    return tensor.to(torch.int64), " and ".join(done)


def _of_shape(labels: Tensor, rows: int | None) -> tuple[Tensor, list[str]]:
    """One number for each row, where the shape says so without a doubt."""
    shape = tuple(labels.shape)
    if rows is None:
        if shape == (1,):
            return labels[0], ["labels (1,) as one number"]
        if len(shape) == 1 and shape[0] > 1 and _is_one_hot(labels):
            return labels.to(torch.int64).argmax(), ["one-hot labels as the place of the 1"]
        return labels, []
    if shape == (rows, 1):
        return labels[:, 0], ["labels (N, 1) as (N,)"]
    if len(shape) == 2 and shape[0] == rows and _is_one_hot(labels):
        return labels.to(torch.int64).argmax(1), ["one-hot labels (N, K) as the place of the 1"]
    return labels, []


def _is_one_hot(labels: Tensor) -> bool:
    """Whether each row is 0 but for a single 1."""
    if labels.is_complex():
        return False
    ones, zeros = labels == 1, labels == 0
    return bool(((ones | zeros).all(-1) & (ones.sum(-1) == 1)).all())


def _of_texts(value: Any, number: int) -> Tensor:
    """Texts as the numbers that they write."""
    texts = value.tolist() if isinstance(value, np.ndarray | np.generic) else value
    several = list(texts) if isinstance(texts, list | tuple) else [texts]
    plain = [one.decode(errors="replace") if isinstance(one, bytes) else one for one in several]
    if all(isinstance(one, str) and one.isascii() and one.isdigit() for one in plain):
        numbers = torch.tensor([int(one) for one in plain])
        return numbers if isinstance(texts, list | tuple) else numbers[0]
    strange = next((one for one in plain if not (isinstance(one, str) and one.isdigit())), "")
    shown = repr(strange)[:_MOST_SHOWN]
    raise DataError(
        f"item {number} of the data has the label {shown}, a text; expected class numbers: give "
        "the place of each class among those of the network"
    )


def _wrong_type(labels: Tensor, number: int) -> DataError:
    kind = str(labels.dtype).removeprefix("torch.")
    hint = ""
    if labels.is_floating_point() and labels.ndim == 2:
        hint = "; probabilities of classes are no labels, give the right class of each row"
    return DataError(
        f"item {number} of the data has labels of type {kind}; expected whole numbers, the index "
        f"of the class{hint}"
    )
