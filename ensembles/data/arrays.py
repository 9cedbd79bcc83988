"""Arrays of inputs with their labels: data of any shape, as a network takes them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset

from ensembles.data.sources import spread
from ensembles.data.splits import match_split
from ensembles.errors import DataError, UsageError

__all__ = ["ArrayDataset"]


class ArrayDataset(Dataset[tuple[Tensor, Tensor]]):
    """Labelled rows of any shape, held in memory in a fixed order and given as they are.

    Args:
        name: What they are called, such as their file.
        split: The part, as ``train`` or ``test``; ``all`` where there are no parts.
        classes: Names of the classes; a label is an index of this.
        inputs: Rows in dimension 0, (N, ...): float32, or whole numbers such as ids.
        labels: int64, (N,).
        opener: Opens a split of the same file, given its name.

    Raises:
        DataError: When there are no rows, or not as many labels.
    """

    def __init__(
        self,
        name: str,
        split: str,
        classes: tuple[str, ...],
        inputs: Tensor,
        labels: Tensor,
        *,
        opener: Callable[[str], Any] | None = None,
    ) -> None:
        if not len(inputs) or len(inputs) != len(labels):
            raise DataError(
                f"{name} ({split}) has {len(inputs):,} rows and {len(labels):,} labels; expected "
                "as many of both, and at least one"
            )
        self.name = name
        self.split = split
        self.classes = classes
        self.inputs = inputs
        self.labels = labels
        self._opener = opener

    def __repr__(self) -> str:
        return (
            f"ArrayDataset({self.name!r}, {self.split!r}, {len(self):,} rows of shape "
            f"{self.shape}, {len(self.classes)} classes)"
        )

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of a row."""
        return tuple(self.inputs.shape[1:])

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        """A row and its label."""
        return self.inputs[index], self.labels[index]

    def batches(self, batch_size: int, *, start: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
        """The rows in their order, each once: inputs (N, ...) and labels, int64 (N,)."""
        if batch_size < 1 or start < 0:
            raise UsageError(f"batch size {batch_size} from row {start}; expected 1, and 0 or more")
        return (
            (self.inputs[first : first + batch_size], self.labels[first : first + batch_size])
            for first in range(start, len(self), batch_size)
        )

    @cached_property
    def content_hash(self) -> str:
        """sha256 (hexadecimal) over inputs, labels and classes, in order."""
        about = json.dumps([self.classes, str(self.inputs.dtype), list(self.inputs.shape)])
        content = hashlib.sha256(about.encode())
        content.update(self.inputs.contiguous().numpy().data)
        content.update(self.labels.contiguous().numpy().data)
        return content.hexdigest()

    def limited(self, count: int) -> ArrayDataset:
        """A fixed, evenly spread part: the rows floor(i * N / count), in their order."""
        if count < 1:
            raise UsageError(f"a limit of {count} rows; expected at least 1")
        return self if count >= len(self) else self._of(spread(len(self), count))

    def taken(self, rows: Sequence[int]) -> ArrayDataset:
        """Some of the rows, in the order in which they are named, from 0."""
        wrong = [row for row in rows if not 0 <= row < len(self)]
        if wrong or not rows:
            found = f"row {wrong[0]}" if wrong else "no row"
            raise UsageError(f"{found} of {self.name}; expected 0 to {len(self) - 1}")
        return self._of(torch.tensor(list(rows)))

    def of_split(self, split: str) -> ArrayDataset:
        """Another split of the same file.

        Raises:
            DataError: When there is no such split.
        """
        other = None if self._opener is None else self._opener(split)
        if other is None or match_split(split, (other.split,), stand_ins=False) is None:
            raise DataError(f"{self.name} has no split {split!r}; give those data themselves")
        assert isinstance(other, ArrayDataset)
        return other

    def _of(self, rows: Tensor) -> ArrayDataset:
        return ArrayDataset(
            self.name, self.split, self.classes, self.inputs[rows], self.labels[rows],
            opener=self._opener,
        )  # fmt: skip
