"""The one place where a name or a file becomes a trained model."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import nn

from ensembles.cards import Card, card_name, read_card
from ensembles.errors import CheckpointError, nearest
from ensembles.files import home_expanded
from ensembles.models import Architecture, architecture, list_models

from . import imagenet, store
from .files import check_sha256, read_state_dict
from .pixel_records import with_record
from .public import PUBLIC
from .state_dicts import build_with_weights

__all__ = ["build", "load", "load_file"]

_SUFFIXES = (".th", ".pt", ".pth", ".bin", ".ckpt", ".tar", ".safetensors")


def load(
    name: str,
    checkpoint: str | Path | None = None,
    num_classes: int | None = None,
    **arguments: Any,
) -> tuple[nn.Module, Card]:
    """Load a trained model.

    Args:
        name: Name of an architecture, as for :func:`ensembles.create_model`, or of a checkpoint.
        checkpoint: Name of a checkpoint, with or without the architecture in front
            (``"cifar10-akamaster"``); a file; for models of torchvision and timm ``"imagenet"``,
            the name of a weights enum member (``"IMAGENET1K_V2"``), or a timm tag. By default the
            packaged one on the embedded digits, or ``"imagenet"``.
        num_classes: What the weights must have; by default what they have.
        **arguments: Further ones of the architecture, for a file without a card.

    Returns:
        The model in evaluation mode, and its card.

    Raises:
        ModelError: When there is no such architecture.
        CheckpointError: When there is no such checkpoint, its file cannot be had or is not the one
            that the card describes, or it does not fit the architecture.
    """
    named = store.lookup(name) if checkpoint is None else None
    if named is not None and name not in list_models("ensembles"):
        return _checked(*_load_entry(named), num_classes)
    if checkpoint is not None and _is_file(checkpoint):
        return load_file(checkpoint, name, num_classes=num_classes, **arguments)
    entry = architecture(name)
    text = None if checkpoint is None else str(checkpoint)
    for known in _names(entry.name, text):
        found = store.lookup(known)
        if found is None:
            continue
        if found.card.architecture != entry.name:
            raise CheckpointError(
                f"checkpoint {known!r} is of {found.card.architecture}, not of {entry.name}"
            )
        return _checked(*_load_entry(found), num_classes)
    if entry.library != "ensembles":
        return _checked(*imagenet.load(entry, text or "imagenet"), num_classes)
    raise _not_found(entry.name, text)


def load_file(
    path: str | Path,
    name: str,
    *,
    num_classes: int | None = None,
    **arguments: Any,
) -> tuple[nn.Module, Card]:
    """Load a file of weights from anywhere.

    A card beside it (the same name with ``.toml``) is used, and a public file is known by its name;
    the sha256 of either is checked. Otherwise the card that is given back holds what can be known.

    Args:
        path: Path of the file.
        name: Name of its architecture.
        num_classes: What the weights must have; by default what they have.
        **arguments: Further ones of the architecture.

    Returns:
        The model in evaluation mode, and its card.

    Raises:
        ModelError: When there is no such architecture.
        CheckpointError: When the file cannot be read, is damaged or unsafe, or does not fit.
    """
    path = home_expanded(path)
    entry = architecture(name)
    card = _card_of(path, entry)
    if card is not None and card.architecture != entry.name:
        raise CheckpointError(f"{path} is of {card.architecture}, not of {entry.name}")
    if card is not None:
        check_sha256(path, card.sha256)
        return _checked(*build(card, path), num_classes)
    state = read_state_dict(path)
    model, classes = build_with_weights(
        name, state, num_classes=num_classes, arguments=arguments, origin=str(path)
    )
    card = Card(card_name(path.stem), entry.name, classes, arguments=arguments, source=str(path))
    card = imagenet.with_tag(with_record(card, path), entry)
    return model, replace(card, size=path.stat().st_size, sha256=check_sha256(path, ""))


def _names(name: str, checkpoint: str | None) -> list[str]:
    """Names in the store that a choice of checkpoint may mean."""
    bare = name.rpartition(":")[2]
    return [f"{bare}-digits"] if checkpoint is None else [checkpoint, f"{bare}-{checkpoint}"]


def _is_file(checkpoint: str | Path) -> bool:
    """Whether a choice of checkpoint means a file, there or not."""
    if isinstance(checkpoint, Path):
        return True
    path = home_expanded(checkpoint)
    return len(path.parts) > 1 or path.suffix in _SUFFIXES or path.is_file()


def _load_entry(entry: store.Entry) -> tuple[nn.Module, Card]:
    return build(entry.card, store.fetch(entry.card.name))


def build(card: Card, path: Path) -> tuple[nn.Module, Card]:
    """The model of a card, from a file whose hash was checked."""
    model, _ = build_with_weights(
        card.architecture,
        read_state_dict(path),
        num_classes=card.num_classes,
        arguments=card.arguments,
        origin=str(path),
    )
    return model, card


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
    known = next((card for card in PUBLIC.values() if card.file == path.name), None)
    return known or imagenet.card_of_file(entry, path.name)


def _not_found(name: str, checkpoint: str | None) -> CheckpointError:
    names = [entry.card.name for entry in store.list_checkpoints(name)]
    there = f"there are {', '.join(names)}" if names else "none is known, train one"
    if checkpoint is None:
        return CheckpointError(
            f"no trained {name} comes with the package; {there}, or give a file as the checkpoint"
        )
    close = nearest(checkpoint, [*names, *(known.removeprefix(f"{name}-") for known in names)])
    return CheckpointError(
        f"no checkpoint of {name} and no file is called {checkpoint!r}{close or '; ' + there}"
    )
