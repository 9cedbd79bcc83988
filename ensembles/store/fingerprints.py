"""Digests of a network and of data, by what they are and not by what they are called."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx, nn
from torch.utils.data import Dataset

from ensembles.data.batches import items_of
from ensembles.decomposition import Block, Decomposition
from ensembles.decomposition.road_set import Roads
from ensembles.errors import DataError
from ensembles.store.key import Shapes
from ensembles.tasks import Batch, Task
from ensembles.tasks.members.classification import MEMBER as CLASSIFICATION

__all__ = ["Watched", "architecture_digest", "weights_digest"]

_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")
_PLAIN = (bool, int, float, complex, str, bytes, type(None), torch.dtype, torch.Size)
_AT_ONCE = 64
_NAMES_OF_VERSION_1 = {
    "ensembles.decomposition.simplification": "ensembles.decomposition.rewriting",
    "ensembles.decomposition.recorder": "ensembles.decomposition.recording",
    "ensembles.decomposition.private_copy": "ensembles.decomposition.copying",
}
"""Files that were renamed: a digest goes on to say the old name, so that results are found."""

_OF_A_BLOCK = (
    "index", "name", "kind", "in_shape", "out_shape", "weight_layers", "shortcut_layers",
    "aligned", "width", "gates_branch", "step", "steps",
)  # fmt: skip
_PARTS_OF_A_BLOCK = (
    "before", "pre", "branch", "shortcut", "post", "adapter", "gate", "roads",
)  # fmt: skip


def weights_digest(net: Decomposition) -> str:
    """sha256 over the values of all parameters and buffers of the parts, with their names.

    Left out are the counters of batches that BatchNorm keeps while it is trained.
    """
    content = hashlib.sha256()
    for name, value in _tensors(net):
        content.update(f"{name} {value.dtype} {tuple(value.shape)}\n".encode())
        content.update(_bytes(value))
    return content.hexdigest()


def _tensors(net: Decomposition) -> Iterator[tuple[str, Tensor]]:
    for part, module in _parts(net):
        for path, inner in _described(module):
            own = {**inner._parameters, **inner._buffers}
            own |= {k: v for k, v in vars(inner).items() if isinstance(v, Tensor)}
            for name in sorted(own):
                value = own[name]
                if value is not None and name != "num_batches_tracked":
                    yield f"{part}.{path}.{name}", value


def _bytes(value: Tensor) -> memoryview:
    flat = value.detach().cpu().contiguous().reshape(-1)
    return flat.view(torch.uint8).numpy().data


def architecture_digest(net: Decomposition) -> str:
    """sha256 over what the parts do: their operations in order, and the settings of each layer."""
    content = hashlib.sha256()
    for part, module in _parts(net):
        content.update(f"{part}\n".encode())
        for line in _operations(module):
            content.update(f"{_ADDRESS.sub('', line)}\n".encode())
    for block in net:
        about = (block.kind, block.in_shape, block.out_shape, block.width, block.adaptation)
        content.update(repr(about).encode())
    return content.hexdigest()


def _parts(net: Decomposition) -> Iterator[tuple[str, nn.Module]]:
    """The parts that are run; the graph of the whole network would only repeat them."""
    yield "stem", net.stem
    yield from ((f"block {block.index}", block) for block in net)
    yield "head", net.head


def _operations(module: nn.Module) -> Iterator[str]:
    for path, inner in _described(module):
        if isinstance(inner, fx.GraphModule):
            for node in inner.graph.nodes:
                yield f"{path} {node.op} {node.name} {_name(node.target)} {_text(node.args)} " + (
                    _text(node.kwargs)
                )
        else:
            name, settings = _layer(inner)
            yield f"{path} {name} { {key: _text(settings[key]) for key in sorted(settings)} }"


def _described(part: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """The modules of a part that a digest speaks of, each once.

    Roads that share operations were not told apart by version 1; they only repeat the branch.
    """
    unknown = isinstance(part, Block) and _new_roads(part)
    for path, inner in part.named_modules():
        if not (unknown and path.partition(".")[0] == "roads"):
            yield path, inner


def _new_roads(block: Block) -> bool:
    return block.roads is not None and block.roads.sharing


def _layer(layer: nn.Module) -> tuple[str, dict[str, Any]]:
    """The class of a layer and its settings, as a digest says them.

    A block is described as version 1 did, when all blocks were of one class, so that what is known
    of a network is found again: every attribute, and each part that it lacks as None.
    """
    if isinstance(layer, Block):
        held = {name: getattr(layer, name) for name in _OF_A_BLOCK}
        lacking = {name: None for name in _PARTS_OF_A_BLOCK if getattr(layer, name) is None}
        lacking |= {"roads": None} if _new_roads(layer) else {}
        return "ensembles.decomposition.blocks.Block", {**held, **lacking}
    if isinstance(layer, Roads):
        return "ensembles.decomposition.joining.Roads", _settings(layer, {"sharing"})
    kind = type(layer)
    return f"{_home(kind.__module__)}.{kind.__qualname__}", _settings(layer, set())


def _settings(layer: nn.Module, new: Collection[str]) -> dict[str, Any]:
    """What a layer's own attributes are, those left out that came after version 1."""
    left_out = {"training", *new}
    return {k: v for k, v in vars(layer).items() if not k.startswith("_") and k not in left_out}


def _name(target: Any) -> str:
    if isinstance(target, str):
        return target
    module = _home(getattr(target, "__module__", None) or "")
    name = getattr(target, "__qualname__", None) or getattr(target, "__name__", None)
    return f"{module}.{name}" if name else str(target)


def _home(module: str) -> str:
    return _NAMES_OF_VERSION_1.get(module, module)


def _text(value: Any) -> str:
    """A setting as text that is the same in every process."""
    if isinstance(value, fx.Node):
        return value.name
    if isinstance(value, (tuple, list)):
        return f"({', '.join(map(_text, value))})"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{key}: {_text(value[key])}' for key in sorted(value, key=str))}}}"
    if isinstance(value, slice):
        return f"slice{_text((value.start, value.stop, value.step))}"
    if isinstance(value, _PLAIN):
        return repr(value)
    return _name(value) if callable(value) else type(value).__qualname__


class Watched(Iterable[Any]):
    """Data that are held to be the same whenever they are read; items are passed on as they are.

    Args:
        data: A torch `Dataset`, or an iterable of batches, as the task reads them.
        task: What is asked of the network, which says how the data are read.

    Attributes:
        digest: sha256 over all inputs as they are given, and their targets, in order.
        labels: Class of each observation, in order.
        rows: How many rows there are.
        shape: Shape of one row; of several inputs that of each, with its name where it has one.

    Raises:
        DataError: If the data can be read only once, or hold nothing.
    """

    def __init__(self, data: Dataset[Any] | Iterable[Any], task: Task = CLASSIFICATION) -> None:
        if isinstance(data, Iterator):
            raise DataError(
                f"a store needs data that can be read again, found a {type(data).__name__}; give a "
                "Dataset, a DataLoader or a list of batches, or leave out the store"
            )
        self._data, self._task = data, task
        self.labels: list[int] = []
        content = _Content()
        for batch in task.batches(data, _AT_ONCE):
            content.add(batch)
            self.labels += task.labels([batch])
        self.digest, self.rows, self.shape = content.digest, content.rows, content.shape

    @property
    def bytes_per_token(self) -> float | None:
        """As the data say it, where they are a text."""
        return getattr(self._data, "bytes_per_token", None)

    @property
    def task(self) -> Task:
        """What the data are for."""
        return self._task

    def check(self) -> None:
        """Read the data again, and compare.

        Raises:
            DataError: If they differ.
        """
        content = _Content()
        for batch in self._task.batches(self._data, _AT_ONCE):
            content.add(batch)
        self._compare(content)

    def __iter__(self) -> Iterator[Any]:
        content = _Content()
        for item in items_of(self._data)[0]:
            for batch in self._task.batches([item], _AT_ONCE):
                content.add(batch)
            yield item
        self._compare(content)

    def _compare(self, content: _Content) -> None:
        if content.digest != self.digest:
            raise DataError(
                f"the data gave other {self._task.observation}s or another order when they were "
                "read again; switch off shuffling and random augmentation, or leave out the store"
            )


class _Content:
    """sha256 of inputs and targets, however they are cut into batches."""

    def __init__(self) -> None:
        self.shape: Shapes = ()
        self.rows = 0
        self._tensors: dict[str, Any] = {}
        self._targets, self._target = hashlib.sha256(), ""

    def add(self, batch: Batch) -> None:
        """Add the rows of a batch."""
        inputs, targets = batch.inputs, batch.targets
        if isinstance(inputs, Tensor):
            self.shape = tuple(inputs.shape[1:])
            named = {"": inputs}
        elif isinstance(inputs, Mapping):
            self.shape = tuple((name, tuple(one.shape[1:])) for name, one in inputs.items())
            named = dict(inputs)
        else:
            self.shape = tuple(tuple(one.shape[1:]) for one in inputs)
            named = {str(place): one for place, one in enumerate(inputs)}
        for name, one in named.items():
            kind = "" if one.dtype == torch.float32 else f" {one.dtype}"
            self._tensors.setdefault(f"{name}{kind}", hashlib.sha256()).update(_bytes(one))
        self._target = str(tuple(targets.shape[1:])) if targets.ndim > 1 else ""
        self._targets.update(targets.cpu().numpy().astype(np.dtype("<i8")).tobytes())
        self.rows += len(targets)

    @property
    def digest(self) -> str:
        """Of a single float32 tensor with a class for each row, as version 1 made it."""
        inputs = " ".join(f"{name}{one.hexdigest()}" for name, one in self._tensors.items())
        about = f"{self.shape} {inputs} {self._target}{self._targets.hexdigest()}"
        return hashlib.sha256(about.encode()).hexdigest()
