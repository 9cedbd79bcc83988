"""Text as numbers of tokens: what a tokenizer is, and the one that needs none, bytes."""

from __future__ import annotations

from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

__all__ = ["BYTES", "ByteTokens", "Encoded", "Tokenizer"]


class Encoded(NamedTuple):
    """A text as tokens.

    Attributes:
        ids: The number of each token, int64 (tokens,).
        sizes: How many bytes of the text, as UTF-8, each token stands for, int64 (tokens,).
    """

    ids: NDArray[np.int64]
    sizes: NDArray[np.int64]


class Tokenizer(Protocol):
    """What cuts a text into tokens.

    Attributes:
        name: What results call it.
        size: How many tokens it has: ids are below this.
        digest: sha256 of all that determines its ids, for caches and for hashes of data.
    """

    @property
    def name(self) -> str:
        """What results call it."""
        ...

    @property
    def size(self) -> int:
        """How many tokens it has."""
        ...

    @property
    def digest(self) -> str:
        """sha256 of what determines its ids."""
        ...

    def encode(self, text: str) -> Encoded:
        """The tokens of a text, none added to it."""
        ...


class ByteTokens:
    """Every byte of the text as UTF-8 is a token, of its own number.

    >>> BYTES.encode("né").ids.tolist()
    [110, 195, 169]
    """

    name = "bytes"
    size = 256
    digest = "bytes of UTF-8"

    def encode(self, text: str) -> Encoded:
        """The bytes of a text."""
        ids = np.frombuffer(text.encode("utf-8"), np.uint8).astype(np.int64)
        return Encoded(ids, np.ones_like(ids))


BYTES = ByteTokens()
