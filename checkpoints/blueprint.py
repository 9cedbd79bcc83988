"""The names and shapes of a network's tensors, found out without making their numbers."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_parameter_registration_hook

from ensembles.errors import CheckpointError, ModelError
from ensembles.models import create_model

__all__ = ["blueprint", "untrained"]

_MOST_TENSORS = 8_000
_MOST_NUMBERS = 100_000_000
_WITHOUT_MEMORY = 64
_MOST_SIZE = 300_000  # of a depth, width, vocabulary: what computes with it registers nothing


def untrained(name: str, num_classes: int, arguments: Mapping[str, Any]) -> nn.Module:
    """Build a network; nothing is drawn from the global generator."""
    with torch.random.fork_rng(devices=[]):
        return create_model(name, num_classes, **arguments)


def blueprint(
    name: str,
    num_classes: int,
    arguments: Mapping[str, Any],
    weights: Mapping[str, Tensor],
    *,
    most: int | None = None,
    origin: str = "the checkpoint",
) -> dict[str, Tensor]:
    """The state dict that a network would have, without numbers.

    Building ends where the network turns out to be far larger than the weights that it is to have:
    a card may ask for any depth.

    Args:
        name: As for ``create_model``.
        num_classes: Width of the classifier.
        arguments: Further ones of the architecture.
        weights: The weights that are to fit.
        most: Most tensors that it may have; by default far more than the weights.
        origin: What to call the weights in an error.

    Raises:
        CheckpointError: When the network is far larger than the weights.
        ModelError: When it cannot be built so.
    """
    for key, value in arguments.items():
        for size in value if isinstance(value, (list, tuple)) else (value,):
            if isinstance(size, (int, float)) and not abs(size) <= _MOST_SIZE:
                raise CheckpointError(
                    f"{origin}: a network with {key} {size} is asked for; expected at most "
                    f"{_MOST_SIZE:,}: it is another one"
                )
    tensors = _MOST_TENSORS + 4 * len(weights) if most is None else most
    numbers = _MOST_NUMBERS + 4 * sum(value.numel() for value in weights.values())
    try:
        with (
            _bounded(tensors, _WITHOUT_MEMORY * numbers, origin, len(weights)),
            torch.device("meta"),
        ):
            return untrained(name, num_classes, arguments).state_dict()
    except (ModelError, NotImplementedError):
        # Some library models compute with numbers while they are built.
        with _bounded(tensors, numbers, origin, len(weights)):
            made = untrained(name, num_classes, arguments).state_dict()
        return {key: value.to("meta") for key, value in made.items()}


@contextmanager
def _bounded(tensors: int, numbers: int, origin: str, held: int) -> Iterator[None]:
    """Stop this thread from building a network with more parameters than a bound."""
    counted = [0, 0]
    thread = threading.get_ident()

    def count(_module: nn.Module, _name: str, value: Tensor | None) -> None:
        if value is None or threading.get_ident() != thread:
            return
        counted[0] += 1
        counted[1] += value.numel()
        if counted[0] > tensors or counted[1] > numbers:
            raise CheckpointError(
                f"{origin} holds {held:,} tensors, and the network asked for has more than "
                f"{counted[0] - 1:,}, or far more numbers: it is another one"
            )

    handle = register_module_parameter_registration_hook(count)
    try:
        yield
    finally:
        handle.remove()
