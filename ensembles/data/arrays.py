"""Rows of any shape, held in memory, where images would be."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from torch import Tensor

__all__ = ["RowSource"]


@dataclass(frozen=True, eq=False)
class RowSource:
    """Rows that a network takes as they are: series, volumes, lines of a table, ids.

    Attributes:
        rows: (N, ...), float32 or int64.
        labels: int64, (N,).
    """

    rows: Tensor
    labels: Tensor

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of a row."""
        return tuple(self.rows.shape[1:])

    @cached_property
    def digest(self) -> bytes:
        """sha256 of the rows and of their type."""
        content = hashlib.sha256(f"rows {self.rows.dtype} {self.shape}\n".encode())
        content.update(self.rows.contiguous().numpy().data)
        return content.digest()

    def read(self, start: int, stop: int) -> Tensor:
        """The rows ``start`` to ``stop`` - 1."""
        return self.rows[start:stop]

    def stream(self, bounds: Sequence[tuple[int, int]]) -> Iterator[Tensor]:
        """One tensor for each (start, stop), in turn."""
        return (self.read(*bound) for bound in bounds)

    def take(self, indices: Tensor) -> RowSource:
        """The rows with these indices, in this order."""
        return RowSource(self.rows[indices], self.labels[indices])

    def relabelled(self, labels: Tensor) -> RowSource:
        """The images under other labels."""
        return replace(self, labels=labels)
