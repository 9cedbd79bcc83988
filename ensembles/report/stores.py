"""The tables of a store of results, named for a report."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from ensembles.analyses.kinds import ANALYSES
from ensembles.errors import UsageError
from ensembles.store import Store
from ensembles.tables import stack_frames
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
    """Everything in a store: its lesions, and each of its analyses, with all networks together.

    Args:
        path: The store.

    Returns:
        Tables with names for a reader.

    Raises:
        UsageError: The store holds no results.
        StoreError: It cannot be read.
    """
    groups: dict[str, list[pd.DataFrame]] = {}
    with Store(path, mode="r") as store:
        for context in store.contexts():
            lesions = store.frame(context)
            if len(lesions):
                groups.setdefault("lesions", []).append(lesions)
            for one in store.analyses(context):
                groups.setdefault(_title(one), []).append(one)
    if not groups:
        raise UsageError(f"store {path}: holds no results yet")
    return [_named(title, frames) for title, frames in groups.items()]


def _named(title: str, frames: list[pd.DataFrame]) -> tuple[str, pd.DataFrame]:
    """One table of all networks, and its name: of a single network with what it was measured on."""
    if len(frames) == 1:
        about = Attributes.of(frames[0])
        model, dataset = about.model or "network", about.dataset or about.key.get("dataset")
        return f"{model}{f' on {dataset}' if dataset else ''}, {title}", frames[0]
    _tell_apart(frames)
    return title, stack_frames(frames)


def _tell_apart(frames: list[pd.DataFrame]) -> None:
    """Add to the name of a network what tells its tables apart: checkpoint, precision or seed."""
    about = [Attributes.of(frame) for frame in frames]
    for place, (frame, own) in enumerate(zip(frames, about, strict=True)):
        alike = [
            other
            for number, other in enumerate(about)
            if number != place and (other.model, other.dataset) == (own.model, own.dataset)
        ]
        words = [
            f"{name} {value}"
            for name, value in _told(own).items()
            if any(_told(other).get(name) != value for other in alike)
        ]
        if words:
            frame.attrs["model"] = ", ".join([own.model or "network", *words])


def _told(about: Attributes) -> dict[str, object]:
    found = {name: about.provenance.get(name) for name in ("checkpoint", "precision")}
    return {**found, "seed": about.options.get("seed", about.provenance.get("seed"))}


def _title(frame: pd.DataFrame) -> str:
    """An analysis in a few words, by its name alone where it is not known here."""
    about = Attributes.of(frame)
    name = about.analysis or "results"
    try:
        analysis = ANALYSES.get(name)
        known = [one.name for one in analysis.options.settings()]
        told = {one: about.provenance[one] for one in known if one in about.provenance}
        return analysis.title(analysis.options.made(about.options or told, name))
    except UsageError:
        return name
