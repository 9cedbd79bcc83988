"""Encoded images wherever they lie: read whole, within bounds, and the same bytes every time."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from ensembles.errors import DataError

__all__ = ["MOST_BYTES", "Files", "Pictures", "Place", "read_regular"]

MOST_BYTES = 2**28
"""Bytes of one encoded image, 256 MiB."""

_KINDS = {
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFDIR: "a folder",
}


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
        return read_regular(self.paths[index], MOST_BYTES, "the image")


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


def read_regular(path: str | os.PathLike[str], most: int, what: str) -> bytes:
    """Read a regular file of bounded size whole; a pipe or a device is not waited for.

    Args:
        path: The file.
        most: How many bytes it may have.
        what: What it is called in messages, such as "the image".

    Raises:
        DataError: When it cannot be read, is no regular file, or is larger.
    """
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    try:
        with open(os.open(path, flags), "rb") as file:  # noqa: PTH123 (from a descriptor)
            kind = stat.S_IFMT(os.fstat(file.fileno()).st_mode)
            if kind != stat.S_IFREG:
                found = _KINDS.get(kind, "no regular file")
                raise DataError(f"cannot read {what} {path}: it is {found}; expected a file")
            content = file.read(most + 1)
    except (OSError, ValueError) as error:
        if getattr(error, "errno", None) == errno.ENXIO:
            raise DataError(f"cannot read {what} {path}: it is a socket; expected a file") from None
        reason = getattr(error, "strerror", None) or error
        raise DataError(f"cannot read {what} {path}: {reason}") from error
    if len(content) > most:
        size = max(Path(path).stat().st_size, len(content))
        raise DataError(
            f"{what} {path} has {size:,} bytes; expected at most {most:,}, so replace or remove it"
        )
    return content
