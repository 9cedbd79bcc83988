"""The kinds of lesion, by name, and lesions from their texts."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from ensembles.errors import LesionError
from ensembles.open_set import OpenSet

if TYPE_CHECKING:
    from ensembles.lesions.base import Lesion

__all__ = ["JOINT", "KINDS", "parse_lesion", "parse_sentence"]

JOINT = re.compile(r"\s+then\s+")
"""What joins the lesions of a chain."""

KINDS: OpenSet[type[Lesion]] = OpenSet(
    "lesion",
    "ensembles.lesions",
    "ensembles.lesions.members",
    first=(
        "none",
        "delete",
        "reorder",
        "duplicate",
        "drop",
        "scale",
        "noise",
        "mean",
        "reset",
        "randomize",
        "replace",
        "repeat",
        "reverse",
        "shuffle",
        "parallel",
        "transplant",
        "then",
        "recalibrated",
    ),
    error=LesionError,
    base="ensembles.lesions.base:Lesion",
    classes=True,
)


def parse_lesion(kind: str, text: str, draw: tuple[int, int] | None = None) -> Lesion:
    """Read a lesion from its kind and its text.

    Args:
        kind: A name of `KINDS`.
        text: As `Lesion.text` writes it.
        draw: Trial and seed of the random draw that it came from.

    Raises:
        LesionError: If the kind is unknown, or the text is none of that kind.

    >>> parse_lesion("reorder", "3-17 20-25").swaps
    ((3, 17), (20, 25))
    """
    lesion = KINDS.get(kind).parse(text)
    return lesion if draw is None else lesion.drawn(*draw)


def parse_sentence(text: str) -> Lesion:
    """Read a lesion as messages write it: its kind and its text, or several joined by ``then``.

    >>> parse_sentence("delete 3 17").blocks
    (3, 17)
    """
    if JOINT.search(text):
        return parse_lesion("then", text)
    kind, _, rest = text.strip().partition(" ")
    return parse_lesion(kind, rest)
