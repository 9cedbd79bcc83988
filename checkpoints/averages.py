"""Several trained networks, averaged and opened together with the images that suit them all."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from torch import nn

from ensembles.cards import Card
from ensembles.engine import choose_device
from ensembles.errors import CheckpointError, UsageError
from ensembles.models.ensemble import Average, AverageOf

from .card_error import check_error
from .class_labels import check_classes
from .images import ImageChoice
from .loader import load
from .subject import Subject, take_apart
from .text_subject import TextChoice, is_language

__all__ = ["open_average"]

_SAME = ("num_classes", "normalization", "dataset", "preprocessing")


def open_average(
    members: Sequence[tuple[str, str | Path | None]],
    *,
    of: AverageOf = "probabilities",
    weights: str | None = None,
    match: str = "names",
    in_channels: int | None = None,
    check: bool = True,
    **options: Any,
) -> Subject:
    """Load several networks and take their average apart: its blocks are the members.

    Args:
        members: Architecture and checkpoint of each, as for :func:`load`; two or more.
        of: What is averaged: probabilities or logits.
        weights: Which of several sets of weights in each file, as for :func:`load`.
        match: How weights are assigned, as for :func:`load`.
        in_channels: Channels of the images, as for :func:`open_subject`.
        check: Whether the networks' classes are held against those of the images, and each member's
            error against its card's, first.
        options: Data and device, as for :func:`open_subject`.

    Returns:
        The subject; its card says of what it is made.

    Raises:
        UsageError: If there are no two members, or initial weights are named.
        CheckpointError: If they differ in what they expect of images and classes.
        EnsemblesError: As :func:`open_subject` raises it.
    """
    if len(members) < 2:
        raise UsageError(
            f"an average needs two networks or more, got {len(members)}; "
            "name several checkpoints, or several models"
        )
    if options.get("initial") is not None:
        raise UsageError("an average was not trained, so that it has no initial weights")
    more: dict[str, Any] = {} if in_channels is None else {"in_channels": in_channels}
    loaded = [
        load(model, checkpoint, weights=weights, match=match, **more)
        for model, checkpoint in members
    ]
    words = next((card.name for one, card in loaded if is_language(one, card)), None)
    if words is not None:
        raise UsageError(f"{words} takes text; expected classifiers of images to average")
    card = _joint([card for _, card in loaded])
    network: nn.Module = Average((network for network, _ in loaded), of)
    given = {kind: _taken(options, kind) for kind in (ImageChoice, TextChoice)}
    subject = take_apart(
        card.name,
        network,
        card,
        images=ImageChoice(**given[ImageChoice]),
        text=TextChoice(**given[TextChoice]),
        force=not check,
        **options,
    )
    if check:
        check_classes(card, subject.data)
    for one, own in loaded if check else ():
        place = choose_device(options.get("device", "auto"))
        check_error(one, own, subject.data, device=place)
    return subject


def _taken(options: dict[str, Any], kind: type[ImageChoice | TextChoice]) -> dict[str, Any]:
    """The options that are fields of a choice, taken out of the others."""
    return {one.name: options.pop(one.name) for one in fields(kind) if one.name in options}


def _joint(cards: Sequence[Card]) -> Card:
    """What is true of all members."""
    first = cards[0]
    for other in cards[1:]:
        for key in _SAME:
            if getattr(other, key) != getattr(first, key):
                raise CheckpointError(
                    f"{first.name} and {other.name} cannot be averaged: their {key} are "
                    f"{getattr(first, key)!r} and {getattr(other, key)!r}"
                )
    known = all(card.sha256 for card in cards)
    digest = hashlib.sha256(" ".join(card.sha256 for card in cards).encode()).hexdigest()
    return Card(
        name=f"average-of-{len(cards)}",
        architecture="average",
        num_classes=first.num_classes,
        dataset=first.dataset,
        normalization=first.normalization,
        classes=first.classes,
        preprocessing=first.preprocessing,
        sha256=digest if known else "",
        notes="the average of " + ", ".join(card.name for card in cards),
    )
