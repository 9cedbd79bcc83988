"""The one place where a name or a file becomes a trained model."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from torch import nn

from ensembles.cards import Card, card_name, read_card
from ensembles.errors import CheckpointError, UsageError, nearest
from ensembles.files import home_expanded
from ensembles.models import Architecture
from ensembles.models.normalized import Normalized

from . import imagenet, store
from .files import CheckpointWarning, WeightFile, open_weights
from .hub import is_hub_name, load_hub
from .known_names import architecture_named, is_checkpoint
from .own_network import adopted, is_own, load_own
from .pixel_records import with_record
from .public import PUBLIC
from .random_weights import random_seed, untrained
from .shards import of_folder, part_hint
from .state_dicts import fit

__all__ = ["architecture_of", "build", "load", "load_file"]

_EMBEDDED = ("digits", "docstrings", "prose")
"""Data that every machine has: weights trained on them come with the package."""

_SUFFIXES = (".th", ".pt", ".pth", ".bin", ".ckpt", ".tar", ".safetensors")


def load(
    name: str,
    checkpoint: str | Path | None = None,
    num_classes: int | None = None,
    *,
    weights: str | None = None,
    match: str = "names",
    **arguments: Any,
) -> tuple[nn.Module, Card]:
    """Load a trained model.

    Args:
        name: Name of an architecture, as for :func:`ensembles.create_model`, or of a checkpoint;
            or ``hf:FOLDER``, ``hf:FILE.gguf``, ``hf:OWNER/NAME`` for a model of Hugging Face, or
            ``smollm2-135m``, which come with their weights; or ``FILE.py:FUNCTION`` or
            ``PACKAGE.MODULE:FUNCTION``, whose code is run, for a network of your own, with the
            weights that the function gives it.
        checkpoint: Name of a checkpoint, with or without the architecture in front
            (``"cifar10-akamaster"``); a file; for models of torchvision and timm ``"imagenet"``,
            the name of a weights enum member (``"IMAGENET1K_V2"``), or a timm tag; or ``"random"``
            (``"random:3"`` of seed 3) for an untrained control. By default the packaged one on the
            embedded digits, or ``"imagenet"``.
        num_classes: What the weights must have; by default what they have.
        weights: Which of several sets of weights in a file: ``"raw"``, ``"ema"`` or its name; by
            default the raw one, which is then said.
        match: ``"names"``, or ``"order"`` for weights under foreign names whose number, order and
            shapes agree with the network's.
        **arguments: Further ones of the architecture, for a file without a card, for random
            weights, and for the function of a network of your own.

    Returns:
        The model in evaluation mode, and its card.

    Raises:
        ModelError: When there is no such architecture.
        CheckpointError: When there is no such checkpoint, its file cannot be had or is not the one
            that the card describes, or it does not fit the architecture.
    """
    brought = _brought(
        name, checkpoint, num_classes=num_classes, weights=weights, match=match, arguments=arguments
    )
    if brought is not None:
        return _checked(*brought, num_classes)
    if checkpoint is None and is_checkpoint(name):
        return _checked(*_load_entry(store.find(name), weights, match), num_classes)
    if checkpoint is not None and _is_file(checkpoint):
        return load_file(
            checkpoint, name, num_classes=num_classes, weights=weights, match=match, **arguments
        )
    entry = architecture_named(name)
    text = None if checkpoint is None else str(checkpoint)
    for known in _names(entry.name, text):
        found = store.lookup(known)
        if found is None:
            continue
        if found.card.architecture != entry.name:
            raise CheckpointError(
                f"checkpoint {known!r} is of {found.card.architecture}, not of {entry.name}"
            )
        return _checked(*_load_entry(found, weights, match), num_classes)
    if entry.library != "ensembles":
        if weights is not None or match != "names":
            raise UsageError(
                f"--weights and --match are for files; {entry.library} names its weights by "
                "--checkpoint"
            )
        return _checked(*imagenet.load(entry, text or "imagenet"), num_classes)
    raise _not_found(entry.name, text)


def _brought(
    name: str,
    checkpoint: str | Path | None,
    *,
    num_classes: int | None,
    weights: str | None,
    match: str,
    arguments: dict[str, Any],
) -> tuple[nn.Module, Card] | None:
    """A network that comes with its weights, or has random ones; None for any other."""
    of_files = weights is not None or match != "names"
    if is_hub_name(name):
        if checkpoint is not None or of_files or arguments:
            raise UsageError(
                f"{name} comes with its weights; leave out --checkpoint, --weights and --match"
            )
        return load_hub(name)
    if is_own(name):
        adopted(name)
    seed = random_seed(checkpoint)
    if seed is None and (checkpoint is not None or not is_own(name)):
        return None
    if of_files:
        raise UsageError("--weights and --match are for files; give one with --checkpoint")
    return (
        load_own(name, arguments) if seed is None else untrained(name, seed, num_classes, arguments)
    )


def load_file(
    path: str | Path,
    name: str,
    *,
    num_classes: int | None = None,
    weights: str | None = None,
    match: str = "names",
    **arguments: Any,
) -> tuple[nn.Module, Card]:
    """Load a file of weights from anywhere.

    A card beside it (the same name with ``.toml``) is used, and a public file is known by its name;
    the sha256 of either is checked. Otherwise the card that is given back holds what can be known.
    The file is opened once: the hash is that of the bytes that the model was made of. Which set of
    weights was taken, what was left over, and whatever else is not plain, is said in a
    :class:`CheckpointWarning`.

    Args:
        path: Path of the file; or of a folder or an index of several files, as Hugging Face writes
            them (``model.safetensors.index.json``).
        name: Name of its architecture.
        num_classes: What the weights must have; by default what they have.
        weights: Which of several sets, as for :func:`load`.
        match: As for :func:`load`.
        **arguments: Further ones of the architecture.

    Returns:
        The model in evaluation mode, and its card.

    Raises:
        ModelError: When there is no such architecture.
        CheckpointError: When the file cannot be read, is damaged or unsafe, or does not fit.
    """
    path = of_folder(home_expanded(path))
    entry = architecture_named(name)
    card = _card_of(path, entry)
    if card is not None and card.architecture != entry.name:
        raise CheckpointError(f"{path} is of {card.architecture}, not of {entry.name}")
    if card is not None:
        return _checked(*build(card, open_weights(path, card.sha256), weights, match), num_classes)
    file = open_weights(path)
    found = fit(
        name,
        file.sets,
        num_classes=num_classes,
        arguments=arguments,
        weights=weights,
        match=match,
        origin=str(path),
        hint=part_hint(path),
    )
    _tell(file, found.notes)
    known = Card(
        card_name("-".join(filter(None, (path.stem, found.chosen)))),
        entry.name,
        found.num_classes,
        arguments=found.arguments,
        normalization="none" if isinstance(found.model, Normalized) else None,
        source=str(path),
        size=file.size,
        sha256=file.sha256,
        notes="; ".join(found.notes),
    )
    return found.model, imagenet.with_tag(with_record(known, path), entry)


def architecture_of(checkpoint: str | Path) -> str:
    """The architecture of a checkpoint whose card says it.

    Args:
        checkpoint: A name of `ensembles checkpoints list`, or a file with a card beside it.

    Raises:
        UsageError: When no card says it.
    """
    entry = None if isinstance(checkpoint, Path) else store.lookup(checkpoint)
    if entry is not None:
        return entry.card.architecture
    path = of_folder(home_expanded(checkpoint))
    beside = path.with_suffix(".toml")
    card = read_card(beside) if beside.is_file() else _public(path.name)
    if card is None:
        raise UsageError(
            f"checkpoint {checkpoint}: no card says its architecture; name it with --model"
        )
    return card.architecture


def _public(file: str) -> Card | None:
    return next((card for card in PUBLIC.values() if card.file == file), None)


def _names(name: str, checkpoint: str | None) -> list[str]:
    """Names in the store that a choice of checkpoint may mean."""
    bare = name.rpartition(":")[2]
    if checkpoint is None:
        return [f"{bare}-{embedded}" for embedded in _EMBEDDED]
    return [checkpoint, f"{bare}-{checkpoint}"]


def _is_file(checkpoint: str | Path) -> bool:
    """Whether a choice of checkpoint means a file, there or not."""
    if isinstance(checkpoint, Path):
        return True
    path = home_expanded(checkpoint)
    return len(path.parts) > 1 or path.suffix in _SUFFIXES or path.is_file()


def _load_entry(entry: store.Entry, weights: str | None, match: str) -> tuple[nn.Module, Card]:
    store.have(entry)
    file = open_weights(entry.path, entry.card.sha256)
    known = entry.match  # of a file of which it is known, nothing has to be said
    return build(entry.card, file, weights, known or match, told=known is None)


def build(
    card: Card,
    file: WeightFile,
    weights: str | None = None,
    match: str = "names",
    *,
    told: bool = True,
) -> tuple[nn.Module, Card]:
    """The model of a card, from a file whose hash was checked.

    Args:
        card: Its card.
        file: The file.
        weights: As for :func:`load`.
        match: As for :func:`load`.
        told: Whether to warn of how the weights were read.
    """
    found = fit(
        card.architecture,
        file.sets,
        num_classes=card.num_classes,
        arguments=card.arguments,
        weights=weights,
        match=match,
        origin=str(file.path),
    )
    _tell(file, found.notes if told else ())
    return found.model, card


def _tell(file: WeightFile, notes: Iterable[str]) -> None:
    for note in notes:
        warnings.warn(f"{file.path}: {note}", CheckpointWarning, stacklevel=3)
    if file.foreign:
        names = ", ".join(file.foreign[:3]) + (", ..." if len(file.foreign) > 3 else "")
        warnings.warn(
            f"{file.path}: objects were left unread, and nothing of them was run ({names})",
            CheckpointWarning,
            stacklevel=3,
        )


def _checked(model: nn.Module, card: Card, num_classes: int | None) -> tuple[nn.Module, Card]:
    if num_classes not in (None, card.num_classes):
        raise CheckpointError(
            f"checkpoint {card.name!r} has {card.num_classes} classes, asked for {num_classes}: "
            f"pass num_classes={card.num_classes}, or none"
        )
    return model, card


def _card_of(path: Path, entry: Architecture) -> Card | None:
    """The card of a file: beside it, or that of the public file of this name."""
    beside = path.with_suffix(".toml")
    if beside.is_file():
        return read_card(beside)
    return _public(path.name) or imagenet.card_of_file(entry, path.name)


def _not_found(name: str, checkpoint: str | None) -> CheckpointError:
    names = [entry.card.name for entry in store.list_checkpoints(name)]
    there = f"there are {', '.join(names)}" if names else "none is known, train one"
    if checkpoint is None:
        return CheckpointError(
            f"no trained {name} comes with the package; {there}, or give a file as the checkpoint"
        )
    short = (known.removeprefix(f"{name}-") for known in names)
    close = nearest(checkpoint, dict.fromkeys((*names, *short)))
    return CheckpointError(
        f"no checkpoint of {name} and no file is called {checkpoint!r}{close or '; ' + there}"
    )
