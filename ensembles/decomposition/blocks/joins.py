"""How the branches of a block enter the tensor where they meet, at the activations of a batch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from torch import Tensor

__all__ = ["Among", "Entry", "Join", "Weighted"]


@dataclass(frozen=True)
class Among:
    """A road whose channels stand among others.

    Attributes:
        before: How many channels of other roads stand before its own.
        after: How many stand after them.
    """

    before: int
    after: int


@dataclass(frozen=True)
class Weighted:
    """A road that is multiplied by a factor of each image, held at its value.

    Attributes:
        factor: (N, *shape), or what broadcasts to it.
    """

    factor: Tensor


Entry: TypeAlias = Among | Weighted | None
"""None for a road that enters as it is."""


@dataclass(frozen=True)
class Join:
    """Where branch and shortcut meet.

    Attributes:
        total: Value there, (N, *shape).
        branch: How the branch enters it.
        shortcut: How the shortcut enters it.
    """

    total: Tensor
    branch: Entry = None
    shortcut: Entry = None
