"""The context of a network on data: what its results are kept under."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import Any

from torch.utils.data import Dataset

from ensembles.data import ImageDataset
from ensembles.data.normalization import AS_GIVEN
from ensembles.decomposition import Decomposition
from ensembles.store.blobs import encode_labels
from ensembles.store.fingerprints import Watched, architecture_digest, weights_digest
from ensembles.store.key import ENGINE_VERSION, Context, Key
from ensembles.tasks import Task, task_of
from ensembles.tasks.members.classification import MEMBER as CLASSIFICATION

__all__ = ["describe"]


def describe(
    net: Decomposition,
    data: Dataset[Any] | Iterable[Any],
    *,
    task: Task | str | None = None,
    precision: str = "fp32",
    engine: str = "shared",
    model: str | None = None,
    about: Mapping[str, Any] | None = None,
    materials: str = "",
) -> tuple[Context, ImageDataset | Watched]:
    """Describe a network on data.

    Args:
        net: A network taken apart.
        data: The data.
        task: What is asked of the network, by its name or as a value; by default what suits it.
        precision: Precision of the computation.
        engine: Which engine computes.
        model: Name of the network in tables; by default its class.
        about: Anything else to be told of it that determines nothing, such as the `checkpoint`.
        materials: sha256 of what else an analysis takes; see `ensembles.analyses.needed`.

    Returns:
        The context, and the data to be used: those of another make are watched, and refused should
        they change.

    Raises:
        DataError: If the data can be read only once, or hold nothing.
        UsageError: If the task is unknown, or does not suit the network.
    """
    chosen = task_of(net, task, data)
    read: ImageDataset | Watched
    if isinstance(data, Watched) or (isinstance(data, ImageDataset) and chosen == CLASSIFICATION):
        read = data
    else:
        read = Watched(data, chosen)
    key = Key(
        weights=weights_digest(net),
        architecture=architecture_digest(net),
        blocks=tuple((block.name, block.kind) for block in net),
        precision=precision,
        engine=engine,
        engine_version=ENGINE_VERSION,
        task=_written(chosen),
        materials=materials,
        **_of_data(read),
    )
    told = _told(net, data) | {"model": model or net.model_name} | dict(about or {})
    return Context(key, told, encode_labels(read.labels)), read


def _told(net: Decomposition, data: Any) -> dict[str, Any]:
    """What tables say of a network on data."""
    name = getattr(data, "name", None)
    return {
        "dataset": name if isinstance(name, str) else None,
        "classes": list(data.classes) if isinstance(data, ImageDataset) else None,
        "num_classes": net.num_classes,
        "transitions": list(net.transitions),
        "adapted": {str(block.index): block.adaptation for block in net if block.adaptation},
    }


def _of_data(data: ImageDataset | Watched) -> dict[str, Any]:
    """Those fields of a key that the data determine."""
    if isinstance(data, Watched):
        return {
            "data": data.digest,
            "split": "",
            "images": data.rows,
            "image_shape": data.shape,
            "normalization": "as given",
        }
    numbers = [data.normalization.mean, data.normalization.std]
    given = data.normalization == AS_GIVEN
    return {
        "data": data.content_hash,
        "split": data.split,
        "images": len(data.labels),
        "image_shape": data.shape,
        "normalization": "as given" if given else json.dumps(numbers),
    }


def _written(task: Task) -> str:
    """The name of a task, with the settings that differ from its defaults."""
    usual = asdict(type(task)())
    settings = {name: value for name, value in asdict(task).items() if value != usual[name]}
    return f"{task.name} {json.dumps(settings, sort_keys=True)}" if settings else task.name
