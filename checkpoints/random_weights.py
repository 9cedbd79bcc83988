"""Networks that were never trained: the control of every measurement."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ensembles.cards import Card, card_name
from ensembles.models import create_model

from .known_names import architecture_named

__all__ = ["random_seed", "untrained"]

_RANDOM = re.compile(r"random(?::([0-9]{1,15}))?")


def random_seed(checkpoint: str | Path | None) -> int | None:
    """The seed of a choice such as "random" (0) or "random:3"; None for any other checkpoint."""
    found = _RANDOM.fullmatch(checkpoint) if isinstance(checkpoint, str) else None
    return None if found is None else int(found[1] or 0)


def untrained(
    name: str, seed: int, num_classes: int | None, arguments: Mapping[str, Any]
) -> tuple[nn.Module, Card]:
    """A network as it is before training, and what is known of it.

    Args:
        name: Name of an architecture.
        seed: Seed of its weights; the global generator is left as it was.
        num_classes: Width of the classifier; by default the architecture's own.
        arguments: Further ones of the architecture.

    Raises:
        ModelError: When there is no such architecture, or it does not take the arguments.
    """
    entry = architecture_named(name)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = create_model(name, num_classes, **arguments).eval()
    return model, Card(
        card_name(f"{entry.name}-random-{seed}"),
        entry.name,
        entry.num_classes if num_classes is None else num_classes,
        arguments=dict(arguments),
        notes=f"random weights of seed {seed}, never trained",
    )
