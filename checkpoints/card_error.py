"""The error of a network as it is used, held against that of its card."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import nn

from ensembles.cards import Card, Measured
from ensembles.data import ImageDataset
from ensembles.engine import count_correct
from ensembles.errors import CheckpointError, DataError

__all__ = ["check_classes", "check_error"]

_LARGEST_DIFFERENCE = 0.3


def check_classes(card: Card, data: ImageDataset) -> None:
    """Refuse images of fewer classes than the network has: their numbers mean something else.

    Args:
        card: What is known about the network's weights.
        data: The images. Labels that the network does not have are refused by the evaluation.

    Raises:
        DataError: When the network has more classes.
    """
    if card.num_classes > len(data.classes) and not data.numbered:
        raise DataError(
            f"the network has {card.num_classes:,} classes, {data.name} {data.split} has "
            f"{len(data.classes):,} ({_first_names(data.classes)}), so class numbers would not "
            "agree; load a network that was trained on these classes, or go on with --force"
        )


def _first_names(classes: Sequence[str], most: int = 3) -> str:
    return ", ".join(classes[:most]) + (", ..." if len(classes) > most else "")


def check_error(
    model: nn.Module, card: Card, data: ImageDataset, *, device: str | torch.device = "auto"
) -> None:
    """Measure a network's error, where its card states the error on the same data.

    Nothing is measured on other data: another data set or split, a part of it, or images that have
    another hash than the card states.

    Args:
        model: The intact network; left as it is.
        card: What is known about its weights.
        data: The images, normalised as they will be used.
        device: As ``ensembles.engine.choose_device`` takes it.

    Raises:
        CheckpointError: When the two errors differ by more than 0.3 percentage points.
    """
    stated = next((one for one in card.measured if _is_same(one, data)), None)
    if stated is None:
        return
    correct, total = count_correct(model, data, device=device)
    found = 100 * (total - correct) / total
    if abs(found - stated.error) > _LARGEST_DIFFERENCE:
        raise CheckpointError(
            f"the intact error of {card.name} on {data.name} {data.split} is {found:.2f} %, its "
            f"card says {stated.error:.2f} %: wrong normalisation is the commonest mistake (used: "
            f"{data.normalization}, the card's: {card.normalization or 'unknown'}); correct it, or "
            "go on with --force"
        )


def _is_same(stated: Measured, data: ImageDataset) -> bool:
    """Whether a measurement was made on these images, all of them."""
    if stated.total != len(data):
        return False
    if stated.content_hash:
        return stated.content_hash == data.content_hash
    return stated.dataset in (data.name, Path(data.name).name) and stated.split == data.split
