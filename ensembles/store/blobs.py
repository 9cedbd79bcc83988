"""Numbers in as few bytes as hold them exactly: states of metrics, labels, predictions."""

from __future__ import annotations

import zlib
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = [
    "decode_labels",
    "decode_predictions",
    "decode_state",
    "encode_labels",
    "encode_predictions",
    "encode_state",
]

Floats = NDArray[np.float64]
Integers = NDArray[np.int32]

_PACKED = 16
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
    """The opposite of `encode_state`."""
    code, rest = content[0], content[1:]
    if code > _PACKED:
        code, rest = code - _PACKED, zlib.decompress(rest)
    return np.frombuffer(rest, dtype=(_WIDTHS | _FLOATS)[code]).astype(np.float64)


def encode_labels(labels: Any) -> bytes:
    """Class numbers of all observations, compressed."""
    return zlib.compress(np.asarray(labels, dtype="<i4").tobytes())


def decode_labels(content: bytes) -> Integers:
    """The opposite of `encode_labels`."""
    if not content:
        return np.zeros(0, dtype=np.int32)
    return np.frombuffer(zlib.decompress(content), dtype="<i4").astype(np.int32)


def encode_predictions(predictions: Integers, labels: Integers, classes: int) -> bytes:
    """Predicted classes, compressed: by how much they differ from the labels, mostly not at all."""
    shifted = np.where(predictions < 0, classes, predictions)
    apart = (shifted - labels) % (classes + 1)
    return zlib.compress(apart.astype("<u1" if classes < 256 else "<u4").tobytes())


def decode_predictions(content: bytes, labels: Integers, classes: int) -> Integers:
    """The opposite of `encode_predictions`; -1 where logits were not finite."""
    apart = np.frombuffer(zlib.decompress(content), dtype="<u1" if classes < 256 else "<u4")
    shifted = (apart.astype(np.int64) + labels) % (classes + 1)
    return np.where(shifted == classes, -1, shifted).astype(np.int32)
