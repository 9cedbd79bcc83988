"""Names that lead to a network: of architectures, and of checkpoints with their architecture."""

from __future__ import annotations

from collections.abc import Iterator

from ensembles.models import Architecture, architecture, list_models

from . import store
from .hub import WHEELS

__all__ = ["architecture_named", "is_checkpoint"]


def architecture_named(name: str) -> Architecture:
    """Look an architecture up where a checkpoint or a model with its weights could be meant too.

    Raises:
        ModelError: When there is none of that name; the nearest are offered, of checkpoints and of
            models that come with their weights too.
    """
    return architecture(name, others=_others())


def is_checkpoint(name: str) -> bool:
    """Whether a name that could be an architecture's is that of a checkpoint with a card."""
    return name not in list_models("ensembles") and store.lookup(name) is not None


def _others() -> Iterator[str]:
    """Names that are no architecture's, looked for only when they are needed."""
    yield from WHEELS
    yield from (entry.card.name for entry in store.list_checkpoints())
