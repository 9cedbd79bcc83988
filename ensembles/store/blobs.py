"""Numbers in as few bytes as hold them exactly: states of metrics, labels, predictions."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ensembles.store.seals import DamageError

__all__ = [
    "decode_labels",
    "decode_predictions",
    "decode_state",
    "decode_states",
    "encode_labels",
    "encode_predictions",
    "encode_state",
]

Floats = NDArray[np.float64]
Integers = NDArray[np.int32]

_PACKED = 16
_NOTHING = np.zeros(0)
_MOST_OF_A_STATE = 1 << 25
_MOST_OF_LABELS = 4 * 10**8
_WORTH_PACKING = 128
_FLOATS = {8: "<f8"}
_WIDTHS = {1: "<u1", 2: "<u2", 4: "<u4"}
"""The first byte of a state: bytes of each number; 8 for floats, `_PACKED` more if compressed."""


def encode_state(state: ArrayLike) -> bytes:
    """What a metric kept, exactly; whole numbers in as few bytes each as the largest takes."""
    values = np.asarray(state, dtype=np.float64).reshape(-1)
    width = _width(values)
    content = values.astype((_WIDTHS | _FLOATS)[width]).tobytes()
    if len(content) >= _WORTH_PACKING:
        packed = zlib.compress(content)
        if len(packed) < len(content):
            return bytes([width + _PACKED]) + packed
    return bytes([width]) + content


def _width(values: Floats) -> int:
    if not values.size:
        return 1
    with np.errstate(invalid="ignore"):
        counts = np.isfinite(values) & (values % 1 == 0) & ~np.signbit(values)
    top = values.max()
    fitting = (width for width in _WIDTHS if top < float(1 << 8 * width))
    return next(fitting, 8) if counts.all() else 8


def decode_state(content: bytes) -> Floats:
    """The opposite of `encode_state`.

    Raises:
        DamageError: If it is none.
    """
    code, rest = content[0], content[1:]
    if code > _PACKED:
        code, rest = code - _PACKED, _unpacked(rest, _MOST_OF_A_STATE)
    width = (_WIDTHS | _FLOATS).get(code)
    if width is None or len(rest) % code:
        raise DamageError("numbers of a metric are not as the program writes them")
    return np.frombuffer(rest, dtype=width).astype(np.float64)


def decode_states(contents: Sequence[bytes]) -> list[Floats]:
    """Several states; those that are written alike at once.

    Raises:
        DamageError: If one is none.
    """
    alike: dict[tuple[int, int], list[int]] = {}
    for place, content in enumerate(contents):
        alike.setdefault((content[0], len(content)), []).append(place)
    found: list[Floats] = [_NOTHING] * len(contents)
    for (code, length), places in alike.items():
        width = (_WIDTHS | _FLOATS).get(code)
        if width is None or (length - 1) % code:
            for place in places:
                found[place] = decode_state(contents[place])
            continue
        whole = np.frombuffer(b"".join(contents[place] for place in places), dtype=np.uint8)
        numbers = np.ascontiguousarray(whole.reshape(-1, length)[:, 1:]).view(width)
        for place, row in zip(places, numbers.astype(np.float64), strict=True):
            found[place] = row
    return found


def _unpacked(content: bytes, most: int) -> bytes:
    """What was compressed, as far as it is no longer than it may be.

    Raises:
        DamageError: If it is longer, or was not compressed.
    """
    unpacking = zlib.decompressobj()
    try:
        found = unpacking.decompress(content, most + 1)
    except zlib.error as error:
        raise DamageError("numbers cannot be unpacked") from error
    if len(found) > most or not unpacking.eof or unpacking.unused_data:
        raise DamageError(f"numbers do not unpack to at most {most:,} bytes")
    return found


def encode_labels(labels: Any) -> bytes:
    """Class numbers of all observations, compressed."""
    return zlib.compress(np.asarray(labels, dtype="<i4").tobytes())


def decode_labels(content: bytes, most: int | None = None) -> Integers:
    """The opposite of `encode_labels`; at most 100 million of them, or as many as are expected.

    Raises:
        DamageError: If they are none.
    """
    if not content:
        return np.zeros(0, dtype=np.int32)
    unpacked = _unpacked(content, _MOST_OF_LABELS if most is None else 4 * most)
    if len(unpacked) % 4:
        raise DamageError("labels are not as the program writes them")
    return np.frombuffer(unpacked, dtype="<i4").astype(np.int32)


def encode_predictions(predictions: Integers, labels: Integers, classes: int) -> bytes:
    """Predicted classes, compressed: by how much they differ from the labels, mostly not at all."""
    shifted = np.where(predictions < 0, classes, predictions)
    apart = (shifted - labels) % (classes + 1)
    return zlib.compress(apart.astype("<u1" if classes < 256 else "<u4").tobytes())


def decode_predictions(content: bytes, labels: Integers, classes: int) -> Integers:
    """The opposite of `encode_predictions`; -1 where logits were not finite.

    Raises:
        DamageError: If they are those of other observations or classes.
    """
    width = np.dtype("<u1" if classes < 256 else "<u4")
    unpacked = _unpacked(content, len(labels) * width.itemsize)
    if len(unpacked) != len(labels) * width.itemsize:
        raise DamageError(f"predictions are not of the {len(labels)} observations that have labels")
    apart = np.frombuffer(unpacked, dtype=width)
    if apart.size and int(apart.max()) > classes:
        raise DamageError(f"predictions are of classes that the network does not have ({classes})")
    shifted = (apart.astype(np.int64) + labels) % (classes + 1)
    return np.where(shifted == classes, -1, shifted).astype(np.int32)
