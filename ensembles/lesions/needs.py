"""What a lesion needs beside the network itself, as frozen values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

__all__ = ["Initial", "Need", "Reference", "Source"]


@dataclass(frozen=True)
class Reference:
    """Observations from which means or statistics are measured.

    Attributes:
        size: How many, evenly spread over the data.
        split: The part of the data set.
    """

    size: int
    split: str = "train"


@dataclass(frozen=True)
class Initial:
    """The network as it was before it was trained."""


@dataclass(frozen=True)
class Source:
    """Another trained network of the same architecture.

    Attributes:
        name: Name or file of its checkpoint, or the name under which a program passes it.
    """

    name: str


Need: TypeAlias = Reference | Initial | Source
