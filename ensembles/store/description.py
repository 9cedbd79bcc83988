"""The context of a network on data: what its results are kept under."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from torch import Tensor
from torch.utils.data import Dataset

from ensembles.data import ImageDataset
from ensembles.decomposition import Decomposition
from ensembles.store.context import ENGINE_VERSION, Context, Key
from ensembles.store.fingerprints import Watched, architecture_digest, weights_digest
from ensembles.store.rows import encode_labels

__all__ = ["describe"]


def describe(
    net: Decomposition,
    data: Dataset[Any] | Iterable[Any],
    *,
    precision: str = "fp32",
    engine: str = "shared",
    model: str | None = None,
    about: dict[str, Any] | None = None,
) -> tuple[Context, ImageDataset | Watched]:
    """Describe a network on data.

    Args:
        net: A network taken apart.
        data: The data.
        precision: Of the computation.
        engine: Which engine computes.
        model: Name of the network in tables; by default its class.
        about: Anything else to be told of it that determines nothing, such as the `checkpoint`.

    Returns:
        The context, and the data to be used: those of another make are watched, and refused should
        they change.

    Raises:
        DataError: If the data can be read only once, or hold no images.
    """
    read = data if isinstance(data, (ImageDataset, Watched)) else Watched(data)
    key = Key(
        weights=weights_digest(net),
        architecture=architecture_digest(net),
        blocks=tuple((block.name, block.kind) for block in net),
        precision=precision,
        engine=engine,
        engine_version=ENGINE_VERSION,
        image_shape=read.shape,
        images=len(read.labels),
        **_of_data(read),
    )
    named: dict[str, Any] = {
        "model": model or net.model_name,
        "dataset": read.name if isinstance(read, ImageDataset) else None,
        "classes": list(read.classes) if isinstance(read, ImageDataset) else None,
        "num_classes": net.num_classes,
        "transitions": list(net.transitions),
        "adapted": {str(block.index): block.adaptation for block in net if block.adaptation},
        **(about or {}),
    }
    return Context(key, named, encode_labels(_labels(read))), read


def _of_data(data: ImageDataset | Watched) -> dict[str, str]:
    if isinstance(data, Watched):
        return {"data": data.digest, "split": "", "normalization": "as given"}
    numbers = [data.normalization.mean, data.normalization.std]
    return {
        "data": data.content_hash,
        "split": data.split,
        "normalization": json.dumps(numbers),
    }


def _labels(data: ImageDataset | Watched) -> Any:
    labels: Tensor = data.labels
    return labels.numpy()
