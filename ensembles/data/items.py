"""One item of any data: the inputs of a network and their labels, as rows."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ensembles.data.label_forms import read_labels
from ensembles.data.rows import Inputs, mapped, named_tensors
from ensembles.errors import DataError, DataWarning

__all__ = ["INPUT_NAMES", "LABEL_NAMES", "described", "pair", "tensor", "type_name"]

INPUT_NAMES = ("image", "images", "pixel_values", "inputs", "input", "x", "input_ids")
LABEL_NAMES = ("label", "labels", "target", "targets", "y")

_EXPECTED = (
    "expected pairs of images (N, C, H, W) or other inputs (N, ...) and labels (N,), or of one "
    "input and its label"
)


def pair(
    item: Any, number: int, *, single: bool = False, double: bool = False
) -> tuple[Inputs, Tensor]:
    """Read one item of the data as a batch of rows.

    Args:
        item: (inputs, labels), or a mapping with the usual names.
        number: Its number in the data, for messages.
        single: Whether an item is one row, as those of a ``Dataset``; batches of images are taken
            all the same.
        double: Whether float64 stays; otherwise all floating point becomes float32.

    Returns:
        The inputs, rows in dimension 0, and their labels, int64 (N,).

    Raises:
        DataError: Saying what was found and what was expected.
    """
    first, second = _halves(item, number)
    inputs = _inputs(first, number)
    labels = _labels(inputs, second, number, single=single)
    if labels.ndim == 0:
        inputs, labels = mapped(lambda part: part.unsqueeze(0), inputs), labels.unsqueeze(0)
    elif single and labels.ndim == 1 and not _is_images(inputs):
        raise DataError(
            f"item {number} of the data set has labels of shape {tuple(labels.shape)}; a Dataset "
            "gives one row and its label at a time: give batches as a list or a DataLoader"
        )
    shapes = {name: tuple(part.shape) for name, part in named_tensors(inputs).items()}
    if labels.ndim != 1 or any(shape[:1] != labels.shape for shape in shapes.values()):
        raise DataError(
            f"item {number} of the data has {described(shapes, 4)} and labels of shape "
            f"{tuple(labels.shape)}; {_EXPECTED}"
        )
    _check_types(inputs, number)

    def settled(part: Tensor) -> Tensor:
        if part.is_inference() and not torch.is_inference_mode_enabled():
            part = part.clone()  # autograd takes none that was made in inference mode
        stays = not part.is_floating_point() or (double and part.dtype == torch.float64)
        return part if stays else part.to(torch.float32)

    return mapped(settled, inputs), labels.to(torch.int64)


def _labels(inputs: Inputs, value: Any, number: int, *, single: bool) -> Tensor:
    """Labels as class numbers; what was read otherwise than it stands there is told once."""
    texts = _is_text(value)
    raw = None if texts else tensor(value, "label", number)
    lengths = {len(part) if part.ndim else -1 for part in named_tensors(inputs).values()}
    rows = lengths.pop() if len(lengths) == 1 else -1
    images = isinstance(inputs, Tensor) and inputs.ndim
    rows_or_one = None if single and images != 4 else rows
    labels, done = read_labels(value, raw, rows_or_one, number)
    if done:
        warnings.warn(f"labels are read so: {done}", DataWarning, stacklevel=2)
    return labels


def _is_text(value: Any) -> bool:
    if isinstance(value, np.ndarray | np.generic):
        return value.dtype.char in "USO"
    several = value if isinstance(value, list | tuple) else [value]
    return bool(several) and all(isinstance(one, str | bytes | np.str_) for one in several)


def described(shapes: Mapping[str, tuple[int, ...]], images: int) -> str:
    """What inputs are, for messages.

    Args:
        shapes: The shape of each tensor by its name, which is empty for one by itself.
        images: How many dimensions it has if it holds images.
    """
    if shapes.keys() == {""}:
        noun = "images" if len(shapes[""]) == images else "inputs"
        return f"{noun} of shape {shapes['']}"
    listed = ", ".join(f"{name}: {shape}" for name, shape in shapes.items())
    return f"inputs of the shapes {listed}"


def _halves(item: Any, number: int) -> tuple[Any, Any]:
    """Inputs and labels as they lie in an item."""
    if isinstance(item, Mapping):
        return _named_halves(item, number)
    if not isinstance(item, tuple | list) or len(item) != 2:
        size, hint = "", ""
        if isinstance(item, tuple | list):
            size = f" of {len(item)}"
            hint = "; several inputs belong in a tuple of their own" if len(item) > 2 else ""
        raise DataError(
            f"item {number} of the data is a {type(item).__name__}{size}; {_EXPECTED}{hint}"
        )
    return item[0], item[1]


def _named_halves(item: Mapping[Any, Any], number: int) -> tuple[Any, Any]:
    keys = ", ".join(map(str, item))
    labels = [name for name in LABEL_NAMES if name in item]
    if not labels:
        raise DataError(
            f"item {number} of the data is a mapping with {keys} and no label; expected it as one "
            f"of {', '.join(LABEL_NAMES)}"
        )
    if len(labels) > 1:
        raise DataError(
            f"item {number} of the data is a mapping with {' and '.join(labels)}; leave out all "
            "but the right answer"
        )
    others = [name for name in item if name != labels[0]]
    if len(others) != 1:
        raise DataError(
            f"item {number} of the data is a mapping with {keys}, which does not say what the "
            "network takes; put that under 'inputs', as a tensor or, for several inputs, as a "
            "mapping or tuple, and leave out the rest"
        )
    if others[0] not in INPUT_NAMES:
        raise DataError(
            f"item {number} of the data is a mapping with {keys}; expected the input as one of "
            f"{', '.join(INPUT_NAMES)}"
        )
    return item[others[0]], item[labels[0]]


def _inputs(value: Any, number: int) -> Inputs:
    if isinstance(value, Mapping):
        several = {str(name): tensor(part, f"input {name}", number) for name, part in value.items()}
    elif isinstance(value, tuple | list) and any(isinstance(x, Tensor | np.ndarray) for x in value):
        return tuple(tensor(part, f"input {i}", number) for i, part in enumerate(value, 1))
    else:
        return tensor(value, "image", number)
    if not several:
        raise DataError(f"item {number} of the data has an empty mapping as input; {_EXPECTED}")
    return several


def _is_images(inputs: Inputs) -> bool:
    return isinstance(inputs, Tensor) and inputs.ndim == 4


def _check_types(inputs: Inputs, number: int) -> None:
    if isinstance(inputs, Tensor) and inputs.ndim == 4 and not inputs.is_floating_point():
        raise DataError(
            f"item {number} of the data has images of type {type_name(inputs.dtype)}; expected "
            "floating point, normalised as the network was trained"
        )


def tensor(value: Any, what: str, number: int) -> Tensor:
    """A tensor of what lies in an item.

    Args:
        value: A tensor, an array, numbers, or lists of numbers.
        what: What it is called, such as "image" or "label".
        number: Number of the item, for messages.

    Raises:
        DataError: If it is something else.
    """
    if isinstance(value, Tensor):
        return value
    if isinstance(value, int | float | np.ndarray | np.generic | list | tuple):
        with contextlib.suppress(ValueError, TypeError, RuntimeError):
            return torch.as_tensor(value)
    hint = "" if what == "label" else "; add a transform to tensors"
    raise DataError(
        f"item {number} of the data has a {type(value).__name__} as {what}; expected a tensor{hint}"
    )


def type_name(dtype: torch.dtype) -> str:
    """What a type of numbers is called, such as "float32"."""
    return str(dtype).removeprefix("torch.")
