"""Names that mean a text, told without opening anything."""

from __future__ import annotations

import os

from ensembles.files import home_expanded

__all__ = ["TEXTS", "TEXT_SUFFIXES", "is_text"]

TEXTS = ("prose", "docstrings")
"""The texts that are known by name."""

TEXT_SUFFIXES = (".txt", ".md", ".rst", ".tex", ".text")


def is_text(name: str | os.PathLike[str]) -> bool:
    """Whether a name means a text for certain: a known one, or a file with such an ending."""
    path = home_expanded(name)
    return str(name) in TEXTS or (path.suffix.lower() in TEXT_SUFFIXES and not path.is_dir())
