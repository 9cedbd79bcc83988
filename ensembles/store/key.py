"""What determines a result, but for the lesion: as frozen values and as a digest."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any, TypeAlias

__all__ = ["ENGINE_VERSION", "MOST_CLASSES", "Context", "Key", "Shapes"]

ENGINE_VERSION = 1
"""Raised whenever a change of the program could change a count."""

Shapes: TypeAlias = tuple[Any, ...]
"""Shape of one row of a tensor; of several tensors the shapes in order, with their names if any."""

_SINCE_VERSION_1 = {"task": "classification", "materials": ""}
"""Fields that version 1 did not have, and what it always did: left out of the text where so."""


@dataclass(frozen=True)
class Key:
    """What determines the counts of a lesion.

    Its text and digest are those of version 1 for whatever version 1 could measure.

    Attributes:
        weights: sha256 of the values of all parameters and buffers.
        architecture: sha256 of what the network does with them: its operations, their arguments,
            and how it is cut into parts.
        blocks: Name and kind of each block, in order.
        data: sha256 of inputs and targets, in order.
        split: The part of the data set.
        images: How many rows of data (images, windows of a text).
        image_shape: Shape of a row as the network sees it, such as channels, height and width; of
            several inputs the shape of each, in order.
        normalization: Mean and deviation of each channel, or "as given" where the hash of the data
            is that of the inputs as the network sees them.
        precision: "fp32", "tf32", "bf16" or "fp64".
        engine: Which of the engines ran it.
        engine_version: `ENGINE_VERSION`.
        task: What was asked of the network.
        materials: sha256 of reference data and other networks that an analysis kept as one table
            was given, or of the reference data that it takes where none were; "" where it needs
            none. Lesions have their own.
    """

    weights: str
    architecture: str
    blocks: tuple[tuple[str, str], ...]
    data: str
    split: str
    images: int
    image_shape: Shapes
    normalization: str
    precision: str
    engine: str
    engine_version: int
    task: str = _SINCE_VERSION_1["task"]
    materials: str = _SINCE_VERSION_1["materials"]

    @cached_property
    def text(self) -> str:
        """The key as JSON with sorted names."""
        values = asdict(self)
        kept = {k: v for k, v in values.items() if _SINCE_VERSION_1.get(k, ...) != v}
        return json.dumps(kept, sort_keys=True)

    @cached_property
    def digest(self) -> str:
        """sha256 of the key."""
        return hashlib.sha256(self.text.encode()).hexdigest()

    @property
    def fault(self) -> str:
        """What is wrong with it, such as with one from a file; "" where nothing is."""
        wrong = [name for name in _TEXTS if type(getattr(self, name)) is not str]
        wrong += [name for name in ("images", "engine_version") if not _is_count(self, name)]
        shape: Any = self.image_shape
        named: Any = self.blocks
        if not isinstance(shape, tuple):
            wrong.append("image_shape")
        blocks = named if isinstance(named, tuple) else (None,)
        if not all(isinstance(one, tuple) and [*map(type, one)] == [str, str] for one in blocks):
            wrong.append("blocks")
        return f"'{wrong[0]}' in its key is {str(getattr(self, wrong[0]))[:40]}" if wrong else ""

    @classmethod
    def parse(cls, text: str) -> Key:
        """Read a key from its text."""
        values = json.loads(text)
        if not isinstance(values, dict):
            raise ValueError("a key is a JSON object")
        return cls(**{name: _tuples(value) for name, value in values.items()})


_TEXTS = (
    "weights", "architecture", "data", "split", "normalization", "precision", "engine", "task",
    "materials",
)  # fmt: skip


def _is_count(key: Key, name: str) -> bool:
    value = getattr(key, name)
    return type(value) is int and value >= 0


MOST_CLASSES = 10**7
"""Between how many classes a network may choose; as many numbers are taken into memory."""

_TOLD: Mapping[str, tuple[type, ...]] = {
    "model": (str,),
    "dataset": (str, type(None)),
    "num_classes": (int,),
    "classes": (list, type(None)),
    "transitions": (list,),
    "adapted": (dict,),
}


def _tuples(value: Any) -> Any:
    return tuple(_tuples(one) for one in value) if isinstance(value, list) else value


@dataclass(frozen=True)
class Context:
    """A network on a data set: the key of its results, and what tables say of it.

    Attributes:
        key: What determines the results.
        about: Names that determine nothing: `model`, `dataset`, `classes` (names or None),
            `num_classes`, `transitions`, `adapted` (of each block that has one, by its number), and
            the card's `checkpoint` where known. Of equal keys the first is kept.
        labels: Class number of each observation, in order (little-endian, four bytes each,
            compressed).
    """

    key: Key
    about: Mapping[str, Any] = field(compare=False)
    labels: bytes = field(default=b"", compare=False, repr=False)

    @property
    def fault(self) -> str:
        """What is wrong with its description; "" where nothing is."""
        told = self.about
        if not isinstance(told, Mapping) or not told.keys() >= _TOLD.keys():
            return f"its description lacks {', '.join(_TOLD)}"
        blocks = range(1, len(self.key.blocks) + 1)
        sound = {name: isinstance(told[name], kinds) for name, kinds in _TOLD.items()}
        sound["num_classes"] = sound["num_classes"] and 0 <= told["num_classes"] <= MOST_CLASSES
        if sound["classes"]:
            sound["classes"] = all(isinstance(one, str) for one in told["classes"] or ())
        if sound["transitions"]:
            sound["transitions"] = all(one in blocks for one in told["transitions"])
        if sound["adapted"]:
            known = set(map(str, blocks))
            sound["adapted"] = all(
                one in known and isinstance(text, str) for one, text in told["adapted"].items()
            )
        wrong = next((name for name, is_sound in sound.items() if not is_sound), None)
        return f"'{wrong}' of it is {str(told[wrong])[:40]}" if wrong else ""

    @property
    def model(self) -> str:
        """The name of the network."""
        return str(self.about["model"])

    @property
    def classes(self) -> int:
        """Between how many classes the network chooses."""
        return int(self.about["num_classes"])
