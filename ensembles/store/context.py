"""What determines a result, but for the lesion: as frozen values and as a digest."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any

__all__ = ["ENGINE_VERSION", "Context", "Key"]

ENGINE_VERSION = 1
"""Raised whenever a change of the program could change a count."""


@dataclass(frozen=True)
class Key:
    """What determines the counts of a lesion.

    Attributes:
        weights: sha256 of the values of all parameters and buffers.
        architecture: sha256 of what the network does with them: its operations, their arguments,
            and how it is cut into parts.
        blocks: Name and kind of each block, in order.
        data: sha256 of pixels and labels, in order.
        split: The part of the data set.
        images: How many images.
        image_shape: Channels, height and width of an image as the network sees it.
        normalization: Mean and deviation of each channel, or "as given" where the hash of the data
            is that of normalised images.
        precision: "fp32", "tf32", "bf16" or "fp64".
        engine: Which of the engines ran it.
        engine_version: `ENGINE_VERSION`.
    """

    weights: str
    architecture: str
    blocks: tuple[tuple[str, str], ...]
    data: str
    split: str
    images: int
    image_shape: tuple[int, ...]
    normalization: str
    precision: str
    engine: str
    engine_version: int

    @cached_property
    def text(self) -> str:
        """The key as JSON with sorted names."""
        return json.dumps(asdict(self), sort_keys=True)

    @cached_property
    def digest(self) -> str:
        """sha256 of the key."""
        return hashlib.sha256(self.text.encode()).hexdigest()

    @classmethod
    def parse(cls, text: str) -> Key:
        """Read a key from its text."""
        values = json.loads(text)
        values["blocks"] = tuple((name, kind) for name, kind in values["blocks"])
        values["image_shape"] = tuple(values["image_shape"])
        return cls(**values)


@dataclass(frozen=True)
class Context:
    """A network on a data set: the key of its results, and what tables say of it.

    Attributes:
        key: What determines the results.
        about: Names that determine nothing: `model`, `dataset`, `classes` (names or None),
            `num_classes`, `transitions`, `adapted` (of each block that has one, by its number), and
            the card's `checkpoint` where known. Of equal keys the first is kept.
        labels: Class number of each image, in order (little-endian, four bytes each).
    """

    key: Key
    about: Mapping[str, Any] = field(compare=False)
    labels: bytes = field(default=b"", compare=False, repr=False)

    @property
    def model(self) -> str:
        """The name of the network."""
        return str(self.about["model"])
