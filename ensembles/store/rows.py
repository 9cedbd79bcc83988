"""Outcomes as rows, and rows as outcomes."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ensembles.engine.outcome import Outcome
from ensembles.lesions import Lesion
from ensembles.store.connection import Connection

__all__ = [
    "bare",
    "decode_counts",
    "decode_labels",
    "decode_predictions",
    "encode_counts",
    "encode_labels",
    "encode_predictions",
    "outcome_of",
    "read_counts",
]

Counts = tuple[Any, ...]
Integers = NDArray[np.int32]


def bare(lesion: Lesion) -> Lesion:
    """A lesion by itself, whatever draw it came from."""
    return lesion.bare()


def read_counts(connection: Connection, context: int) -> dict[tuple[str, str], Counts]:
    """The counts of every lesion of a context, by its kind and blocks."""
    rows = connection.rows(
        "SELECT kind, blocks, correct, total, loss_sum, nonfinite, class_correct FROM lesions "
        "JOIN outcomes ON outcomes.lesion = lesions.id "
        "LEFT JOIN details ON details.lesion = lesions.id WHERE context = ?",
        (context,),
    )
    return {(kind, blocks): tuple(counts) for kind, blocks, *counts in rows}


def outcome_of(lesion: Lesion, counts: Counts, classes: int) -> Outcome:
    """Counts as the outcome of a lesion, on data of so many classes."""
    correct, total, loss, nonfinite, class_correct = counts
    return Outcome(
        lesion,
        correct,
        total,
        float("nan") if loss is None else loss,
        nonfinite,
        class_correct=decode_counts(class_correct, classes) if class_correct else None,
    )


def encode_counts(counts: Sequence[int]) -> bytes:
    """Counts in as few bytes each as the largest takes."""
    top = max(counts, default=0)
    dtype = next(code for code, bits in (("<u1", 8), ("<u2", 16), ("<u4", 32)) if top < 1 << bits)
    return np.asarray(counts, dtype=dtype).tobytes()


def decode_counts(content: bytes, classes: int) -> tuple[int, ...]:
    """The opposite of `encode_counts`."""
    return tuple(np.frombuffer(content, dtype=f"<u{len(content) // classes}").tolist())


def encode_labels(labels: Any) -> bytes:
    """Class numbers of all images, compressed."""
    return zlib.compress(np.asarray(labels, dtype="<i4").tobytes())


def decode_labels(content: bytes) -> Integers:
    """The opposite of `encode_labels`."""
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
