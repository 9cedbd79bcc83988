"""Encoded images wherever they lie: read whole, within bounds, and the same bytes every time."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from ensembles.bounded import read_bytes
from ensembles.errors import DataError

__all__ = ["MOST_BYTES", "Files", "Pictures", "Place"]

MOST_BYTES = 2**28
"""Bytes of one encoded image, 256 MiB."""


class Place(Protocol):
    """Where encoded images lie, in a fixed order."""

    def __len__(self) -> int:
        """How many there are."""

    def name(self, index: int) -> str:
        """What messages call an image, such as its path."""

    def read(self, index: int) -> bytes:
        """The bytes of an image.

        Raises:
            DataError: When they cannot be read, or are more than ``MOST_BYTES``.
        """


class Files:
    """Images that are files each.

    Args:
        paths: The files.
    """

    def __init__(self, paths: Sequence[str]) -> None:
        self.paths = tuple(paths)

    def __len__(self) -> int:
        return len(self.paths)

    def name(self, index: int) -> str:
        """The path of a file."""
        return self.paths[index]

    def read(self, index: int) -> bytes:
        """The bytes of a file.

        Raises:
            DataError: When it is no readable file, or too large.
        """
        return read_bytes(self.paths[index], "the image", error=DataError, most=MOST_BYTES)


class Pictures:
    """Images of a place, in an order, whose bytes are those that were read first.

    The sha256 of each image is kept when it is read for the first time, and every later reading is
    held against it: what is measured is what was hashed, or the measurement ends.

    Args:
        place: Where the images lie.
    """

    def __init__(self, place: Place) -> None:
        self._place = place
        self._chosen = np.arange(len(place))
        self._known = np.zeros(len(place), dtype=bool)
        self._digests = np.zeros((len(place), hashlib.sha256().digest_size), dtype=np.uint8)
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._chosen)

    def take(self, indices: Tensor | slice) -> Pictures:
        """Some of the images, held against the same bytes."""
        part = object.__new__(Pictures)
        part.__dict__.update(self.__dict__)
        index = indices.numpy() if isinstance(indices, Tensor) else indices
        part._chosen = self._chosen[index]
        return part

    def name(self, index: int) -> str:
        """What messages call an image."""
        return self._place.name(int(self._chosen[index]))

    @property
    def names(self) -> tuple[str, ...]:
        """What messages call the images."""
        return tuple(map(self.name, range(len(self))))

    def read(self, index: int) -> bytes:
        """The bytes of an image.

        Raises:
            DataError: When they cannot be read, or are others than when they were first read.
        """
        place = int(self._chosen[index])
        content = self._place.read(place)
        found: NDArray[np.uint8] = np.frombuffer(hashlib.sha256(content).digest(), dtype=np.uint8)
        with self._lock:
            if not self._known[place]:
                self._digests[place] = found
                self._known[place] = True
            same = bool(np.array_equal(self._digests[place], found))
        if not same:
            raise DataError(
                f"the image {self.name(index)} was changed while it was measured: its bytes are "
                "not those that were hashed; leave the images alone and start again"
            )
        return content

    def digest(self, index: int) -> bytes:
        """sha256 of an image as it was first read; it is read now where it was not yet.

        Raises:
            DataError: When it cannot be read.
        """
        place = int(self._chosen[index])
        if not self._known[place]:
            self.read(index)
        return bytes(self._digests[place])
