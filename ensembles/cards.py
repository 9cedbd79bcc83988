"""The card of a checkpoint: what it is, how it was made, and how well it does."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, TypeAlias

from ensembles.bounded import read_text, toml_table
from ensembles.errors import CheckpointError
from ensembles.files import atomic, refusals
from ensembles.toml_text import toml_lines

__all__ = ["Card", "Measured", "card_name", "card_text", "parse_card", "read_card", "write_card"]

Value: TypeAlias = str | int | float | bool | list[Any]

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
# What a card may say beside its fields, since it follows from them.
_DERIVED = ("library", "paper")
_LARGEST_CARD = 1 << 20


@dataclass(frozen=True)
class Measured:
    """One measurement of a checkpoint.

    Attributes:
        dataset: Name of the data set.
        split: Its part.
        correct: Images classified correctly.
        total: Images seen.
        by: Who counted, where it was not this program: ``"publisher"``.
        content_hash: Hash of the images and labels, as ``ImageDataset.content_hash`` gives it;
            empty when it is not known.
    """

    dataset: str
    split: str
    correct: int
    total: int
    by: str = ""
    content_hash: str = ""

    @property
    def error(self) -> float:
        """Error in %."""
        return 100.0 * (self.total - self.correct) / self.total


@dataclass(frozen=True)
class Card:
    """What is known about one file of weights.

    Attributes:
        name: What the user types: letters, digits, dots, dashes and underscores.
        architecture: Name for :func:`ensembles.create_model`.
        num_classes: Width of the classifier.
        arguments: Further arguments of the architecture.
        dataset: Data set trained on; empty when it is not known.
        split: Part of it that was trained on.
        images: Number of images trained on.
        content_hash: Hash of the training data, as ``ImageDataset.content_hash`` gives it.
        normalization: Normalisation of the input, as ``Normalization.parse`` takes it
            (``"imagenet"``, ``"m,m,m/s,s,s"``); ``None`` when it is not known.
        classes: Names of the classes in the order of the logits; empty when they are not known.
        preprocessing: What is done to images before normalisation, by name (``resize``, ``crop`` in
            pixels, ``interpolation``); empty when they are taken as they are.
        training: How it was trained: name of the recipe, epochs, seed, and the like.
        recipe: Every hyper-parameter.
        measured: Every measurement of these weights.
        sha256: sha256 of the file, in hexadecimal; eight or more leading digits where the publisher
            gives no more.
        size: Size of the file, in bytes.
        file: Name of the file, in the folder ``weights`` beside the card's.
        source: Where the weights come from: an address, or in words.
        licence: Under which they may be used.
        notes: Anything else.
    """

    name: str
    architecture: str
    num_classes: int
    arguments: Mapping[str, Value] = field(default_factory=dict)
    dataset: str = ""
    split: str = ""
    images: int | None = None
    content_hash: str = ""
    normalization: str | None = None
    classes: tuple[str, ...] = ()
    preprocessing: Mapping[str, Value] = field(default_factory=dict)
    training: Mapping[str, Value] = field(default_factory=dict)
    recipe: Mapping[str, Value] = field(default_factory=dict)
    measured: tuple[Measured, ...] = ()
    sha256: str = ""
    size: int | None = None
    file: str = ""
    source: str = ""
    licence: str = ""
    notes: str = ""

    def __post_init__(self) -> None:
        for problem in _problems(self):
            raise CheckpointError(f"card of {self.name!r}: {problem}")

    @property
    def seed(self) -> int | None:
        """Of the training, where it is known."""
        seed = self.training.get("seed")
        return seed if isinstance(seed, int) else None

    def with_measured(self, measured: Measured) -> Card:
        """The card with one more measurement, in place of an older one on the same images."""
        kept = (
            m for m in self.measured if (m.dataset, m.split) != (measured.dataset, measured.split)
        )
        return replace(self, measured=(*kept, measured))


def _problems(card: Card) -> list[str]:
    """What is wrong with a card's values, in words."""
    problems = []
    for key, pattern in _TEXTS.items():
        value = getattr(card, key)
        if key == "normalization" and value is None:
            continue
        if not isinstance(value, str) or not re.fullmatch(pattern, value, re.DOTALL):
            problems.append(f"{key} is {repr(value)[:200]}, expected {_MEANT[key]}")
    for key in ("num_classes", "images", "size"):
        value = getattr(card, key)
        least = 1 if key == "num_classes" else 0
        if value is None and key != "num_classes":
            continue
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            problems.append(f"{key} is {value!r}, expected a whole number of at least {least}")
    if not all(isinstance(name, str) for name in card.classes):
        problems.append("classes holds something else than names")
    elif card.classes and len(card.classes) != card.num_classes:
        problems.append(f"{len(card.classes)} names for {card.num_classes} classes")
    problems += [p for m in card.measured for p in _measured_problems(m)]
    problems += [problem for key in _TABLES for problem in _table_problems(card, key)]
    return problems


def _table_problems(card: Card, key: str) -> list[str]:
    table = getattr(card, key)
    if not isinstance(table, Mapping):
        return [f"{key} is no table"]
    problems = []
    if not all(isinstance(name, str) and _is_plain(value) for name, value in table.items()):
        problems.append(f"{key} holds something else than texts, finite numbers and lists")
    if key == "arguments":
        fields_ = [name for name in ("name", "num_classes") if name in table]
        problems += [f"arguments holds {name!r}, which is a field of its own" for name in fields_]
    return problems


def _is_plain(value: Any) -> bool:
    if isinstance(value, (list, tuple)):
        return all(map(_is_plain, value))
    return isinstance(value, (str, int)) or (isinstance(value, float) and math.isfinite(value))


def _measured_problems(measured: Measured) -> list[str]:
    texts = (measured.dataset, measured.split, measured.by, measured.content_hash)
    if not all(isinstance(text, str) for text in texts):
        return ["a measurement names its data set with something else than text"]
    counts = (measured.correct, measured.total)
    if any(isinstance(count, bool) or not isinstance(count, int) for count in counts):
        return [f"measured counts are {counts!r}, expected whole numbers"]
    if not 0 <= measured.correct <= measured.total or not measured.total:
        return [f"{measured.correct} correct of {measured.total} images cannot be"]
    return []


_TABLES = ("arguments", "preprocessing", "training", "recipe")
_KINDS: Mapping[str, type] = {"classes": list, "file": dict} | dict.fromkeys(_TABLES, dict)
_FREE = ("dataset", "split", "content_hash", "normalization", "source", "licence", "notes")
_TEXTS = {
    "name": _NAME.pattern,
    "architecture": r"[^\s]{1,500}",
    "sha256": r"|[0-9a-f]{8,64}",
    "file": rf"|{_NAME.pattern}",
    **dict.fromkeys(_FREE, r"[^\0]*"),
}
_MEANT = {
    "name": "letters, digits, dots, dashes and underscores",
    "architecture": "the name of an architecture",
    "sha256": "8 to 64 hexadecimal digits",
    "file": "a plain file name",
    **dict.fromkeys(_FREE, "text"),
}


def read_card(path: str | Path) -> Card:
    """Read a card.

    Args:
        path: Path of the TOML file.

    Raises:
        CheckpointError: When it cannot be read, or is no card.
    """
    text = read_text(path, "card", error=CheckpointError, most=_LARGEST_CARD)
    return parse_card(text, str(path))


def parse_card(text: str, origin: str = "card") -> Card:
    """Make a card from its TOML text.

    Args:
        text: The contents of the file.
        origin: What to call it in an error.

    Raises:
        CheckpointError: When the text is no TOML, or a field is missing, unknown or of a wrong
            kind.
    """
    table = toml_table(text, origin, error=CheckpointError)
    known = {entry.name for entry in fields(Card)} | set(_DERIVED)
    unknown = sorted(set(table) - known)
    missing = [key for key in ("name", "architecture", "num_classes") if key not in table]
    if "classes" in table and "num_classes" in missing:
        missing.remove("num_classes")
    if unknown or missing:
        raise CheckpointError(
            f"{origin} is no card: unknown {', '.join(unknown) or 'nothing'}, "
            f"missing {', '.join(missing) or 'nothing'}"
        )
    try:
        return _from_table(table)
    except (TypeError, AttributeError, ValueError) as error:
        raise CheckpointError(f"{origin} is no card: {error}") from error


def _from_table(table: dict[str, Any]) -> Card:
    values = {key: value for key, value in table.items() if key not in _DERIVED}
    for key, kind in _KINDS.items():
        if not isinstance(values.get(key, kind()), kind):
            raise TypeError(f"{key} is no {'list' if kind is list else 'table'}")
    values["classes"] = tuple(values.get("classes", ()))
    values["arguments"] = arguments = dict(values.get("arguments", {}))
    inner = arguments.pop("num_classes", None)
    outer = values.setdefault("num_classes", inner or len(values["classes"]))
    if inner not in (None, outer):
        raise ValueError(f"num_classes is {outer} and, in arguments, {inner}")
    file = dict(values.pop("file", {}))
    file.pop("format", None)
    values["file"] = file.pop("name", "")
    if unknown := sorted(file.keys() - {"size", "sha256"}):
        raise ValueError(f"unknown in file: {', '.join(unknown)}")
    measured = values.pop("measured", [])
    measured = [measured] if isinstance(measured, dict) else measured
    values["measured"] = tuple(
        Measured(**{key: value for key, value in one.items() if key != "error"}) for one in measured
    )
    return Card(**values, **file)


def write_card(card: Card, path: str | Path) -> None:
    """Write a card as TOML, all or nothing.

    Args:
        card: What to write.
        path: The file; its folder is made.

    Raises:
        OutputError: When it cannot be written.
    """
    with refusals(f"card {path}"), atomic(path) as scratch:
        scratch.write_text(card_text(card), encoding="utf-8", newline="")


def card_name(text: str) -> str:
    """The nearest name that a card may have.

    >>> card_name("my network (2)")
    'my-network-2'
    """
    return re.sub(r"[^A-Za-z0-9._-]+", "-", text).strip("._-")[:100] or "file"


def card_text(card: Card) -> str:
    """Write a card as TOML text, as :func:`parse_card` reads it."""
    tables: dict[str, Any] = {key: getattr(card, key) for key in _TABLES}
    tables["file"] = _filled({"name": card.file, "size": card.size, "sha256": card.sha256})
    apart = (*tables, "measured", "size", "sha256")
    names = [entry.name for entry in fields(Card) if entry.name not in apart]
    lines = [*toml_lines(_filled({name: getattr(card, name) for name in names}))]
    for key, table in tables.items():
        rows = toml_lines({name: value for name, value in table.items() if value is not None})
        lines += ["", f"[{key}]", *rows] if rows else []
    for one in card.measured:
        always = {"dataset": one.dataset, "split": one.split}
        lines += ["", "[[measured]]", *toml_lines(always | _filled(vars(one)))]
    return "\n".join(lines) + "\n"


def _filled(values: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if value not in (None, "", ())}
