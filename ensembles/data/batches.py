"""Batches of a chosen size from whatever holds images and labels."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, IterableDataset

from ensembles.data.dataset import ImageDataset
from ensembles.errors import DataError, UsageError

__all__ = ["batches"]

_EXPECTED = "expected pairs of images (N, C, H, W) and labels (N,), or of one image and its label"


def batches(data: Dataset[Any] | Iterable[Any], batch_size: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Read any data as batches of one size, each image once and in the order of the data.

    Args:
        data: One of ours; a torch ``Dataset`` of (image, label); or an iterable of batches (a
            ``DataLoader``, a list, a generator), which are cut anew to ``batch_size``. Images must
            be floating point and normalised. A generator can be read only once.
        batch_size: Images in a batch; the last batch may be smaller.

    Returns:
        Pairs of images, float32 (N, C, H, W), and labels, int64 (N,).

    Raises:
        UsageError: When ``batch_size`` is below 1.
        DataError: When an item is not (images, labels), labels are not class numbers, images
            differ in shape, or there are no images at all; raised while reading.
    """
    if batch_size < 1:
        raise UsageError(f"a batch size of {batch_size}; expected at least 1")
    if isinstance(data, ImageDataset):
        return data.batches(batch_size)
    return _recut(_items(data), batch_size, once=isinstance(data, Iterator))


def _items(data: Any) -> Iterator[Any]:
    if isinstance(data, Dataset) and not isinstance(data, IterableDataset):
        return (data[index] for index in range(_length(data)))
    try:
        return iter(data)
    except TypeError:
        raise DataError(
            f"cannot read images from a {type(data).__name__}; expected a data set of this "
            "library, a torch Dataset of (image, label), or an iterable of batches"
        ) from None


def _length(data: Any) -> int:
    try:
        return len(data)
    except TypeError:
        raise DataError(
            f"the data set {type(data).__name__} has no length; expected one with __len__ and "
            "__getitem__, or an IterableDataset"
        ) from None


def _recut(items: Iterator[Any], batch_size: int, *, once: bool) -> Iterator[tuple[Tensor, Tensor]]:
    shape: torch.Size | None = None
    images: list[Tensor] = []
    labels: list[Tensor] = []
    waiting = total = 0
    for number, item in enumerate(items):
        some, theirs = _pair(item, number)
        if shape is not None and some.shape[1:] != shape:
            raise DataError(
                f"item {number} of the data has images of shape {tuple(some.shape[1:])}, those "
                f"before have {tuple(shape)}; expected one shape"
            )
        shape = some.shape[1:]
        images.append(some)
        labels.append(theirs)
        waiting += len(some)
        total += len(some)
        if waiting >= batch_size:
            joined, numbers = _join(images), _join(labels)
            whole = waiting - waiting % batch_size
            for start in range(0, whole, batch_size):
                yield joined[start : start + batch_size], numbers[start : start + batch_size]
            images, labels = [joined[whole:]], [numbers[whole:]]
            waiting -= whole
    if not total:
        reason = "; a generator can be read only once" if once else ""
        raise DataError(f"the data holds no images; expected at least one{reason}")
    if waiting:
        yield _join(images), _join(labels)


def _join(parts: list[Tensor]) -> Tensor:
    """One tensor of all parts, without a copy where there is only one with anything in it."""
    filled = [part for part in parts if len(part)]
    return filled[0] if len(filled) == 1 else torch.cat(filled)


def _pair(item: Any, number: int) -> tuple[Tensor, Tensor]:
    """One item of the data as a batch: float32 (N, C, H, W) and int64 (N,)."""
    if isinstance(item, Mapping):
        keys = ", ".join(map(str, item))
        raise DataError(f"item {number} of the data is a mapping with {keys}; {_EXPECTED}")
    if not isinstance(item, (tuple, list)) or len(item) != 2:
        size = f" of {len(item)}" if isinstance(item, (tuple, list)) else ""
        raise DataError(f"item {number} of the data is a {type(item).__name__}{size}; {_EXPECTED}")
    images, labels = _tensor(item[0], "image", number), _tensor(item[1], "label", number)
    if images.ndim == 3 and labels.ndim == 0:
        images, labels = images.unsqueeze(0), labels.unsqueeze(0)
    if images.ndim != 4 or labels.shape != images.shape[:1]:
        raise DataError(
            f"item {number} of the data has images of shape {tuple(images.shape)} and labels of "
            f"shape {tuple(labels.shape)}; {_EXPECTED}"
        )
    if not images.is_floating_point():
        raise DataError(
            f"item {number} of the data has images of type {_type(images)}; expected floating "
            "point, normalised as the network was trained"
        )
    if labels.is_floating_point() or labels.is_complex() or labels.dtype == torch.bool:
        raise DataError(
            f"item {number} of the data has labels of type {_type(labels)}; expected whole "
            "numbers, the index of the class"
        )
    if len(labels) and int(labels.min()) < 0:
        raise DataError(
            f"item {number} of the data has the label {int(labels.min())}; expected class "
            "numbers from 0"
        )
    return images.to(torch.float32), labels.to(torch.int64)


def _tensor(value: Any, what: str, number: int) -> Tensor:
    if isinstance(value, Tensor):
        return value
    if isinstance(value, (int, float, np.ndarray, np.generic, list, tuple)):
        with contextlib.suppress(ValueError, TypeError, RuntimeError):
            return torch.as_tensor(value)
    hint = "; add a transform to tensors" if what == "image" else ""
    raise DataError(
        f"item {number} of the data has a {type(value).__name__} as {what}; expected a tensor{hint}"
    )


def _type(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")
