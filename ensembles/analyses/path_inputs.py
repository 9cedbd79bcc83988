"""What paths are measured on: a network and images on their device, in batches that fit."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any, cast

import torch
from torch.utils.data import Dataset, IterableDataset, Subset

from ensembles.analyses.path_options import IMAGES, PathOptions
from ensembles.data import ImageDataset, batches
from ensembles.decomposition import Decomposition
from ensembles.errors import DataError, PathError
from ensembles.unravelling.additive import additive, require_additive
from ensembles.unravelling.image_rows import image_rows
from ensembles.unravelling.measurement import (
    Batch,
    batch_size,
    prepared,
    with_batch_statistics,
)
from ensembles.unravelling.token_streams import StreamRows

__all__ = ["count_of", "groups_of", "network_and_images", "rereadable"]


def network_and_images(
    net: Decomposition, data: Any, chosen: PathOptions, device: torch.device
) -> tuple[Decomposition, list[Batch]]:
    """The network and the images on their device, in batches that fit in memory.

    Args:
        net: The network.
        data: The images.
        chosen: How paths are measured; its precision is settled.
        device: The device.

    Raises:
        PathError: If the network gives a single logit.
        DataError: If the images do not fit it.
    """
    if tuple(net.output_shape) == (1,):
        raise PathError(
            "the network gives a single logit; expected one for each class: let it give two, 0 and "
            "that logit (torch.cat([torch.zeros_like(z), z], 1)), and take it apart so"
        )
    ready = prepared(net, device, chosen.precision)
    dtype = torch.float64 if chosen.precision == "fp64" else torch.float32
    at_once = torch.get_num_threads() if device.type == "cpu" else 1
    size = min(64, batch_size(net, chosen.memory / at_once, chosen.precision))
    parts = [
        (images.to(device, dtype), labels.to(device))
        for images, labels in _read(data, count_of(chosen), size)
    ]
    shape = tuple(parts[0][0].shape[1:])
    if shape != tuple(net.input_shape):
        raise DataError(
            f"the images have shape {shape}, the network was taken apart for "
            f"{tuple(net.input_shape)}; expected the same"
        )
    if chosen.statistics == "batch":
        ready = with_batch_statistics(ready, torch.cat([images for images, _ in parts]))
    if chosen.linearization == "additive":
        ready = additive(ready)
        require_additive(ready, parts[0][0])
    return image_rows(ready), parts


def rereadable(data: Any, chosen: PathOptions) -> Any:
    """Data that can be read again: what an iterator gives is kept."""
    return _read(data, count_of(chosen), 64) if isinstance(data, Iterator) else data


def groups_of(data: Any, chosen: PathOptions, size: int) -> list[tuple[Any, int]]:
    """The images in groups, each as data of its own, and how many it holds.

    Args:
        data: The images.
        chosen: How paths are measured.
        size: Images in a group at most.
    """
    windows = isinstance(data, list) and bool(data) and isinstance(data[0], StreamRows)
    pairs = _read(data, count_of(chosen), size)
    return [([StreamRows(*one) if windows else one], len(one[1])) for one in pairs]


def count_of(chosen: PathOptions) -> int:
    """How many images are asked for, also where it is left to the default."""
    return chosen.images or IMAGES[chosen.direction]


def _read(data: Any, count: int, size: int) -> list[Batch]:
    if isinstance(data, ImageDataset):
        return list(data.limited(count).batches(size))
    if isinstance(data, list) and data and isinstance(data[0], StreamRows):
        return [pair for one in data for pair in zip(*(x.split(size) for x in one), strict=True)]
    if isinstance(data, Dataset) and not isinstance(data, IterableDataset):
        total = len(cast("Any", data))
        if total > count:
            data = Subset(data, [i * total // count for i in range(count)])
        return list(batches(data, size))
    read = list(islice(batches(data, size), -(-count // size)))
    last = count - size * (len(read) - 1)
    images, labels = read[-1]
    return [*read[:-1], (images[:last], labels[:last])]
