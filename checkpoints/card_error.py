"""The error of a network as it is used, held against that of its card."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from ensembles.cards import Card, Measured
from ensembles.data import ImageDataset, Normalization
from ensembles.data.texts import LabelledText, TextDataset
from ensembles.engine import count_correct
from ensembles.errors import CheckpointError, DataError, UsageError
from ensembles.models.normalized import Normalized

__all__ = ["check_channels", "check_error", "check_normalized_once"]

_LARGEST_DIFFERENCE = 0.3


def check_channels(card: Card, data: ImageDataset) -> None:
    """Refuse images of other channels than the weights were made for.

    Args:
        card: What is known about the network's weights.
        data: The images.

    Raises:
        DataError: When the numbers differ.
    """
    channels = card.arguments.get("in_channels")
    if isinstance(channels, int) and len(data.shape) == 3 and data.shape[0] != channels:
        raise DataError(
            f"the weights take images of {channels} channels, those of {data.name} {data.split} "
            f"have {data.shape[0]}; expected arrays (.npy, .npz) of {channels} channels"
        )


def check_normalized_once(model: nn.Module, normalize: str | None) -> None:
    """Refuse to normalise the images of a network that normalises them itself.

    Args:
        model: The network.
        normalize: What would be done to the images; None for what suits them.

    Raises:
        UsageError: When both would be done.
    """
    if not isinstance(model, Normalized) or normalize is None:
        return
    if Normalization.parse(normalize) != Normalization.parse("none"):
        raise UsageError(
            f"the network normalises its images itself, and {normalize} would do it twice: leave "
            "--normalize out, or go on with --force"
        )


def check_error(
    model: nn.Module,
    card: Card,
    data: ImageDataset | TextDataset | LabelledText,
    *,
    device: str | torch.device = "auto",
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
        differ = (
            f"the intact error of {card.name} on {data.name} {data.split} is {found:.2f} %, its "
            f"card says {stated.error:.2f} %"
        )
        if not isinstance(data, ImageDataset):
            raise CheckpointError(f"{differ}: other weights, or go on with --force")
        raise CheckpointError(
            f"{differ}: wrong normalisation is the commonest mistake (used: "
            f"{data.normalization}, the card's: {card.normalization or 'unknown'}); correct it, or "
            "go on with --force"
        )


def _is_same(stated: Measured, data: ImageDataset | TextDataset | LabelledText) -> bool:
    """Whether a measurement was made on these images or this text, all of it."""
    count = data.windows[:, 1:].numel() if isinstance(data, TextDataset) else len(data)
    if stated.total != count:
        return False
    if stated.content_hash:
        return stated.content_hash == data.content_hash
    return stated.dataset in (data.name, Path(data.name).name) and stated.split == data.split
