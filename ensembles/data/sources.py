"""Where the pixels of a data set come from: memory, or files decoded when they are needed."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from ensembles.data.decode import decode, prepared, workers
from ensembles.data.pictures import Pictures
from ensembles.data.pixels import Preprocessing
from ensembles.errors import UsageError

__all__ = [
    "FileSource", "MemorySource", "PreparedSource", "Source", "prepared_source", "require_rows",
    "spread",
]  # fmt: skip


class Source(Protocol):
    """Images of one size, or other rows, with their labels, in a fixed order."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(C, H, W), or the shape of a row."""

    @property
    def labels(self) -> Tensor:
        """int64, (N,)."""

    @property
    def digest(self) -> bytes:
        """sha256 of the images."""

    def read(self, start: int, stop: int) -> Tensor:
        """The images ``start`` to ``stop`` - 1 as uint8 (N, C, H, W); other rows as they are."""

    def stream(self, bounds: Sequence[tuple[int, int]]) -> Iterator[Tensor]:
        """One tensor for each (start, stop), in turn."""

    def take(self, indices: Tensor) -> Source:
        """The images with these indices, in this order."""

    def relabelled(self, labels: Tensor) -> Source:
        """The images under other labels."""


@dataclass(frozen=True, eq=False)
class MemorySource:
    """Images that are all in memory.

    Attributes:
        images: uint8, (N, C, H, W).
        labels: int64, (N,).
    """

    images: Tensor
    labels: Tensor

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W)."""
        channels, height, width = self.images.shape[1:]
        return channels, height, width

    @cached_property
    def digest(self) -> bytes:
        """sha256 of the pixels."""
        return hashlib.sha256(self.images.contiguous().numpy().data).digest()

    def read(self, start: int, stop: int) -> Tensor:
        """The images ``start`` to ``stop`` - 1 as uint8 (N, C, H, W)."""
        return self.images[start:stop]

    def stream(self, bounds: Sequence[tuple[int, int]]) -> Iterator[Tensor]:
        """One tensor for each (start, stop), in turn."""
        return (self.read(*bound) for bound in bounds)

    def take(self, indices: Tensor) -> MemorySource:
        """The images with these indices, in this order."""
        return MemorySource(self.images[indices], self.labels[indices])

    def relabelled(self, labels: Tensor) -> MemorySource:
        """The images under other labels."""
        return replace(self, labels=labels)


@dataclass(frozen=True, eq=False)
class FileSource:
    """Images that stay in their files and are decoded when they are read.

    Attributes:
        pictures: The encoded images.
        labels: int64, (N,).
        how: What is done to each image.
        expected: Height and width of every image.
        reference: The image that gave ``expected``.
    """

    pictures: Pictures
    labels: Tensor
    how: Preprocessing
    expected: tuple[int, int]
    reference: str

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W)."""
        return (self.how.channels, *self.expected)

    @cached_property
    def digest(self) -> bytes:
        """sha256 of the encoded images and of what is done to them."""
        total = hashlib.sha256(self.how.identity.encode())
        with ThreadPoolExecutor(workers()) as pool:
            for one in pool.map(self.pictures.digest, range(len(self.pictures))):
                total.update(one)
        return total.digest()

    def read(self, start: int, stop: int) -> Tensor:
        """The images ``start`` to ``stop`` - 1 as uint8 (N, C, H, W)."""
        some = self.pictures.take(slice(start, stop))
        return decode(some, self.how, self.expected, reference=self.reference)

    def stream(self, bounds: Sequence[tuple[int, int]]) -> Iterator[Tensor]:
        """One tensor for each (start, stop), in turn, the next one decoded meanwhile."""
        with ThreadPoolExecutor(1) as ahead:
            waiting = None
            for bound in bounds:
                following = ahead.submit(self.read, *bound)
                if waiting is not None:
                    yield waiting.result()
                waiting = following
            if waiting is not None:
                yield waiting.result()

    def take(self, indices: Tensor) -> FileSource:
        """The images with these indices, in this order."""
        return replace(self, pictures=self.pictures.take(indices), labels=self.labels[indices])

    def relabelled(self, labels: Tensor) -> FileSource:
        """The images under other labels."""
        return replace(self, labels=labels)


def prepared_source(held: MemorySource, how: Preprocessing) -> MemorySource | PreparedSource:
    """Images in memory, made as asked; those that stay as they are need nothing."""
    whole = (None, held.shape[1:])
    if how.colours == "rgb" and how.resize in whole and how.crop in whole:
        return held
    return PreparedSource(held, how)


@dataclass(frozen=True, eq=False)
class PreparedSource:
    """Images of a source in memory, resized, cut or recoloured when they are read.

    Attributes:
        held: The images as they are, of three channels.
        how: What is done to each.
    """

    held: MemorySource
    how: Preprocessing

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W)."""
        return (self.how.channels, *self.how.size_of(*self.held.shape[1:]))

    @property
    def labels(self) -> Tensor:
        """int64, (N,)."""
        return self.held.labels

    @cached_property
    def digest(self) -> bytes:
        """sha256 of the images as they are and of what is done to them."""
        return hashlib.sha256(self.held.digest + self.how.identity.encode()).digest()

    def read(self, start: int, stop: int) -> Tensor:
        """The images ``start`` to ``stop`` - 1 as uint8 (N, C, H, W)."""
        arrays = self.held.read(start, stop).permute(0, 2, 3, 1).numpy()
        with ThreadPoolExecutor(workers()) as pool:
            images = list(pool.map(self._prepared, arrays))
        return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).contiguous()

    def _prepared(self, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        return prepared(Image.fromarray(np.ascontiguousarray(pixels)), self.how)

    def stream(self, bounds: Sequence[tuple[int, int]]) -> Iterator[Tensor]:
        """One tensor for each (start, stop), in turn."""
        return (self.read(*bound) for bound in bounds)

    def take(self, indices: Tensor) -> PreparedSource:
        """The images with these indices, in this order."""
        return replace(self, held=self.held.take(indices))

    def relabelled(self, labels: Tensor) -> PreparedSource:
        """The images under other labels."""
        return replace(self, held=self.held.relabelled(labels))


def spread(total: int, count: int) -> Tensor:
    """Indices of ``count`` images spread evenly over ``total``: floor(i * total / count)."""
    return torch.arange(count) * total // count


def require_rows(rows: Sequence[int], total: int, noun: str, name: str) -> None:
    """Refuse rows that data do not have, or none at all.

    Args:
        rows: Numbers of rows, from 0.
        total: How many rows there are.
        noun: What a row is called.
        name: Name of the data.

    Raises:
        UsageError: Naming the first that is not there.
    """
    wrong = [row for row in rows if not 0 <= row < total]
    if wrong or not rows:
        found = f"{noun} {wrong[0]}" if wrong else f"no {noun}"
        raise UsageError(f"{found} of {name}; expected 0 to {total - 1}")
