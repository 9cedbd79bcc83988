"""The tables of a store of results, named for a report."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from ensembles.analyses.kinds import ANALYSES
from ensembles.errors import UsageError
from ensembles.store import Store
from ensembles.tables.schema import Attributes

__all__ = ["is_store", "store_frames"]

_MAGIC = b"SQLite format 3\0"


def is_store(path: str | Path) -> bool:
    """Whether a file is a store, by its first bytes."""
    try:
        if not Path(path).is_file():  # a pipe would be waited for
            return False
        with Path(path).open("rb") as file:
            return file.read(len(_MAGIC)) == _MAGIC
    except (OSError, ValueError):
        return False


def store_frames(path: str | Path) -> list[tuple[str, pd.DataFrame]]:
    """Everything in a store: for each network and data set its lesions and its analyses.

    Args:
        path: The store.

    Returns:
        Tables with names for a reader.

    Raises:
        UsageError: The store holds no results.
        StoreError: It cannot be read.
    """
    found: list[tuple[str, pd.DataFrame]] = []
    with Store(path, mode="r") as store:
        for context in store.contexts():
            dataset = context.about.get("dataset")
            name = str(context.about.get("model", "network")) + (
                f" on {dataset}" if dataset else ""
            )
            lesions = store.frame(context)
            if len(lesions):
                found.append((f"{name}, lesions", lesions))
            found += [(f"{name}, {_title(one)}", one) for one in store.analyses(context)]
    if not found:
        raise UsageError(f"store {path}: holds no results yet")
    return found


def _title(frame: pd.DataFrame) -> str:
    """An analysis in a few words, by its name alone where it is not known here."""
    about = Attributes.of(frame)
    name = about.analysis or "results"
    try:
        analysis = ANALYSES.get(name)
        return analysis.title(analysis.options.made(about.options, name))
    except UsageError:
        return name
