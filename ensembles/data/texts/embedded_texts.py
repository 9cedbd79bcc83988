"""Texts that are there wherever this package is: those of scikit-learn, which it needs."""

from __future__ import annotations

import ast
import hashlib
import re
from collections.abc import Callable, Iterator
from importlib.resources import files
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable  # since Python 3.11

__all__ = ["EMBEDDED", "documents"]

Documents = list[tuple[str, str]]

_SHORTEST = 200
"""Docstrings of fewer characters say little."""


def _prose() -> Documents:
    """The descriptions of scikit-learn's data sets."""
    folder = files("sklearn.datasets") / "descr"
    names = sorted(entry.name for entry in folder.iterdir() if entry.name.endswith(".rst"))
    return [(name, (folder / name).read_text("utf-8").strip()) for name in names]


def _docstrings() -> Documents:
    """The docstrings of scikit-learn's modules, one document a module."""
    return [
        (place, text)
        for place, module in sorted(_modules(files("sklearn"), "sklearn"))
        if (text := "\n\n".join(_docstrings_of(module)))
    ]


def _modules(folder: Traversable, place: str) -> Iterator[tuple[str, Traversable]]:
    for entry in folder.iterdir():
        if entry.is_dir() and entry.name != "tests":
            yield from _modules(entry, f"{place}/{entry.name}")
        elif entry.name.endswith(".py"):
            yield f"{place}/{entry.name}", entry


def _docstrings_of(module: Traversable) -> Iterator[str]:
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    for node in ast.walk(ast.parse(module.read_text("utf-8"))):
        found = ast.get_docstring(node) if isinstance(node, documented) else None
        if found and len(found) >= _SHORTEST:
            yield re.sub(r"\n{3,}", "\n\n", found)


EMBEDDED: dict[str, tuple[Callable[[], Documents], float, str]] = {
    "prose": (_prose, 0.25, "descriptions of scikit-learn's data sets"),
    "docstrings": (_docstrings, 0.02, "docstrings of scikit-learn"),
}
"""What makes the documents of each text, the share of them that is held out, and a line."""


def documents(name: str, split: str) -> Documents:
    """The documents of a part of an embedded text, by their names in order.

    The documents are sorted by the sha256 of their names; the first share (rounded, at least one)
    is the test part, so that no random generator is asked.

    Args:
        name: One of :data:`EMBEDDED`.
        split: ``train`` or ``test``.
    """
    made, share, _ = EMBEDDED[name]
    found = made()
    drawn = sorted(found, key=lambda one: hashlib.sha256(one[0].encode()).hexdigest())
    held_out = {place for place, _ in drawn[: max(1, round(share * len(drawn)))]}
    return [one for one in found if (one[0] in held_out) == (split == "test")]
