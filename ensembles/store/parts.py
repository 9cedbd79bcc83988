"""What there is of a table that is not done yet, so that an interrupted analysis goes on."""

from __future__ import annotations

import base64
import hashlib
import json
import math
import zlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from ensembles.store.key import Context
    from ensembles.store.store import Store

__all__ = ["PART", "Parts"]

PART = "part "
"""What the names of notes begin with that hold such parts."""

Array = NDArray[Any]

_TYPES = ("<f8", "<f4", "<i8", "|b1", "|u1")
_MOST_BYTES = 1 << 31
_LEVEL = 1  # of compression: parts are written often and read seldom


class Parts:
    """Arrays under labels, for one table of a store; gone once the table is there.

    Args:
        store: The store.
        context: The network and the data.
        name: Name of the analysis.
        options: What else determines it, as JSON holds it.
    """

    def __init__(
        self, store: Store, context: Context, name: str, options: Mapping[str, Any]
    ) -> None:
        asked = f"{context.key.digest} {name} {json.dumps(dict(options), sort_keys=True)}"
        self._store = store
        self._prefix = f"{PART}{hashlib.sha256(asked.encode()).hexdigest()} "

    def read(self, label: str) -> dict[str, Array] | None:
        """The arrays that were kept under a label; None where there are none that can be read."""
        kept = self._store.note(self._prefix + label)
        if not isinstance(kept, dict):
            return None
        try:
            return {str(name): _array(*told) for name, told in kept.items()}
        except (ValueError, TypeError, zlib.error):
            return None

    def keep(self, label: str, values: Mapping[str, Array]) -> None:
        """Keep arrays under a label, in place of older ones."""
        self._store.keep_note(
            self._prefix + label, {name: _written(one) for name, one in values.items()}
        )

    def forget(self) -> None:
        """Drop all of them."""
        self._store.drop_notes(self._prefix)


def _written(values: Array) -> tuple[str, list[int], str]:
    """Type, shape and content of an array, as JSON holds them."""
    held = np.ascontiguousarray(values)
    content = base64.b64encode(zlib.compress(held.tobytes(), _LEVEL)).decode()
    return held.dtype.newbyteorder("<").str, list(values.shape), content


def _array(kind: str, shape: list[int], content: str) -> Array:
    """The opposite of `_written`.

    Raises:
        ValueError: If it is none.
        zlib.error: If the content cannot be unpacked.
    """
    if kind not in _TYPES or not all(type(one) is int and one >= 0 for one in shape):
        raise ValueError(f"{kind} {shape}: expected one of {', '.join(_TYPES)}, and a shape")
    size = math.prod(shape) * np.dtype(kind).itemsize
    if size > _MOST_BYTES:
        raise ValueError(f"{size} bytes; expected at most {_MOST_BYTES}")
    unpacked = zlib.decompressobj().decompress(base64.b64decode(content, validate=True), size + 1)
    if len(unpacked) != size:
        raise ValueError(f"{len(unpacked)} bytes; expected {size}")
    return np.frombuffer(unpacked, kind).reshape(shape).copy()
