"""How many blocks networks have by their definition, counted on their modules."""

from __future__ import annotations

from torch import nn

__all__ = ["blocks_by_definition"]


def blocks_by_definition(model: nn.Module, stated: int | None = None) -> int | None:
    """How many blocks a network has by its definition; None where it is not known.

    Args:
        model: The network.
        stated: The number where it was written down for the network itself.
    """
    return stated
