"""Observations from which means and statistics are measured, evenly spread over their data."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sized
from functools import cached_property
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset, IterableDataset, Subset

from ensembles.data import ImageDataset
from ensembles.data.batches import recut
from ensembles.data.sources import spread
from ensembles.decomposition.inputs import Inputs, named_tensors, rows_of, take
from ensembles.errors import DataError, LesionError
from ensembles.tasks.base import Batch, Task, numbered

__all__ = ["ReferenceData"]

_AT_ONCE = 128
_HELD_BYTES = 1 << 30


class ReferenceData:
    """Data of any kind, of which some rows are taken.

    Args:
        data: One of our data sets, a torch ``Dataset``, or an iterable of batches that can be read
            again.
        task: How they are read.
        name: What they are called in messages.
    """

    def __init__(self, data: Any, task: Task, name: str) -> None:
        if isinstance(data, Iterator):
            raise LesionError(
                f"{name} is a {type(data).__name__}, which can be read only once; give reference= "
                "a data set or a list of batches"
            )
        self._data, self._task, self.name = data, task, name
        self._digests: dict[int, str] = {}
        self._held: dict[int, list[tuple[Inputs, Tensor]]] = {}

    @classmethod
    def opened(cls, reference: Any, data: Any, split: str, task: Task) -> ReferenceData:
        """Reference data as they were named; otherwise a split of the data set that is evaluated.

        Args:
            reference: Data, or None.
            data: What is evaluated.
            split: The part of that data set.
            task: How data are read.

        Raises:
            LesionError: If there is no such split.
        """
        if reference is not None:
            return cls(reference, task, "the reference data")
        of_split = getattr(data, "of_split", None)
        if of_split is None:
            raise LesionError(
                f"reference data are needed, and those that are evaluated have no {split} split "
                "that could be opened; name some by reference="
            )
        try:
            found = of_split(split)
        except DataError as error:
            raise LesionError(
                f"reference data are needed: {error}; name others by reference="
            ) from error
        return cls(found, task, f"{found.name} ({found.split})")

    @cached_property
    def rows(self) -> int:
        """How many rows there are."""
        data = self._data
        if isinstance(data, Dataset) and isinstance(data, Sized):
            return len(data)
        return sum(rows_of(batch.inputs) for batch in self._task.batches(data, _AT_ONCE))

    def require(self, size: int) -> None:
        """Refuse to take more rows than there are.

        Raises:
            LesionError: Saying how many there are.
        """
        if size > self.rows:
            raise LesionError(
                f"{size} reference observations are asked for, and {self.name} has {self.rows}; "
                "ask for fewer, or name other data by reference="
            )

    def batches(self, size: int, batch_size: int) -> Iterator[Batch]:
        """Some rows, evenly spread, in batches.

        Raises:
            LesionError: If there are fewer.
        """
        self.require(size)
        return numbered(recut(self._pairs(size), batch_size))

    def digest(self, size: int) -> str:
        """sha256 (hexadecimal) of some rows, evenly spread."""
        if size not in self._digests:
            self._digests[size] = self._digest(size)
        return self._digests[size]

    def _digest(self, size: int) -> str:
        if isinstance(self._data, ImageDataset):
            self.require(size)
            chosen = self._data.limited(size)
            about = f"{chosen.content_hash} {chosen.normalization}"
            return hashlib.sha256(about.encode()).hexdigest()
        content = hashlib.sha256()
        for batch in self.batches(size, _AT_ONCE):
            for name, tensor in named_tensors(batch.inputs).items():
                content.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
                flat = tensor.detach().cpu().contiguous().reshape(-1)
                content.update(flat.view(torch.uint8).numpy().data)
        return content.hexdigest()

    def _pairs(self, size: int) -> Iterator[tuple[Inputs, Tensor]]:
        """Inputs and targets of some rows; what memory holds is read once.

        So data that are shuffled anew each time are the same rows in a digest and where they are
        used.
        """
        if size in self._held:
            yield from self._held[size]
            return
        read: list[tuple[Inputs, Tensor]] = []
        held = 0
        for batch in self._read(size):
            tensors = named_tensors(batch.inputs).values()
            held += sum(tensor.numel() * tensor.element_size() for tensor in tensors)
            if held <= _HELD_BYTES:
                read.append((batch.inputs, batch.targets))
            yield batch.inputs, batch.targets
        if held <= _HELD_BYTES:
            self._held[size] = read

    def _read(self, size: int) -> Iterator[Batch]:
        data, places = self._data, spread(self.rows, size)
        if isinstance(data, ImageDataset):
            return self._task.batches(data.limited(size), _AT_ONCE)
        if isinstance(data, Dataset) and not isinstance(data, IterableDataset):
            return self._task.batches(Subset(data, places.tolist()), _AT_ONCE)
        return numbered(self._picked(places))

    def _picked(self, places: Tensor) -> Iterator[tuple[Inputs, Tensor]]:
        """The rows at some places of data that can only be read from the start."""
        for batch in self._task.batches(self._data, _AT_ONCE):
            end = batch.start + rows_of(batch.inputs)
            here = places[(places >= batch.start) & (places < end)] - batch.start
            if len(here):
                yield take(batch.inputs, here), batch.targets[here]
