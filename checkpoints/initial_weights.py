"""The weights of a network as they were before it was trained."""

from __future__ import annotations

from pathlib import Path

from torch import nn

from ensembles.cards import Card
from ensembles.errors import CheckpointError
from ensembles.files import home_expanded

from .files import open_weights
from .loader import build

__all__ = ["ENDING", "find_initial", "open_initial"]

ENDING = ".init.safetensors"
_REMEMBERED = "initial_sha256"


def find_initial(checkpoint: str | Path | None) -> Path | None:
    """The initial weights that training left beside a checkpoint's file; None where there are none.

    Args:
        checkpoint: Name or file of the checkpoint.
    """
    if checkpoint is None:
        return None
    file = home_expanded(checkpoint)
    beside = file.with_name(file.stem + ENDING)
    return beside if beside.is_file() else None


def open_initial(card: Card, path: str | Path) -> nn.Module:
    """Build the network of a card with its initial weights.

    Args:
        card: Card of the trained network.
        path: File of the weights before training, as ``ensembles train --init`` writes it.

    Raises:
        CheckpointError: If the file cannot be read, does not fit the architecture, or is not the
            one that the card remembers.
    """
    place = home_expanded(path)
    file = open_weights(place)
    found, stated = file.sha256, card.training.get(_REMEMBERED)
    if isinstance(stated, str) and stated and found != stated:
        raise CheckpointError(
            f"{place} does not hold the initial weights of {card.name}: its sha256 is "
            f"{found[:12]}..., its card remembers {stated[:12]}...; give the file that was written "
            "by the training of these weights"
        )
    network, _ = build(card, file)
    return network
