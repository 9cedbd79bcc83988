"""An analysis from a store, or into it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ensembles.store.description import describe
from ensembles.store.fingerprints import Watched
from ensembles.store.key import Context
from ensembles.store.parts import Parts
from ensembles.store.store import Store

if TYPE_CHECKING:
    import pandas as pd

    from ensembles.decomposition import Decomposition
    from ensembles.tasks.base import Task

__all__ = ["recalled"]

Measure = Callable[[Any, Parts], "pd.DataFrame"]
"""Measures data, of which some parts may be there; the table's ``attrs`` hold its provenance."""


def recalled(
    store: Store,
    net: Decomposition,
    data: Any,
    measure: Measure,
    *,
    name: str,
    options: Mapping[str, Any],
    task: Task | None = None,
    precision: str,
    engine: str,
    about: Mapping[str, Any],
    materials: str = "",
    usual: str = "",
) -> pd.DataFrame:
    """Take the table of an analysis from a store; measure it where it is not there, and keep it.

    Args:
        store: The store.
        net: The network.
        data: The data.
        measure: Measures it on data, as they are given to it or as they are; they are held against
            their digest afterwards.
        name: Name of the analysis.
        options: The options that determine it, as JSON holds them.
        task: What is asked of the network; by default what suits it.
        precision: Precision of the computation.
        engine: Which engine computes.
        about: What is told of the network, its name as `model` at least.
        materials: sha256 of reference data and other networks; "" where none were given.
        usual: sha256 of reference data that are taken where none are given; "" for none. Tables
            were kept without it before: the first that is asked for takes such a table over.

    Returns:
        The table as `measure` makes it; ``attrs["store"]`` says where it lies and if it was known.

    Raises:
        DataError: If the data cannot be read again, or change.
        StoreError: If the store cannot be read or written.
    """
    context, read = describe(
        net, data, task=task, precision=precision, engine=engine, about=about,
        materials=usual or materials,
    )  # fmt: skip
    known = store.analysis(context, name, options)
    if known is None and usual:
        known = _taken_over(store, context, materials, name, options)
    frame = known
    if frame is None:
        parts = Parts(store, context, name, options)
        measured = measure(read, parts)
        if isinstance(read, Watched):
            read.check()
        store.keep_analysis(
            context, name, options, measured, store.begin(measured.attrs["provenance"])
        )
        frame = store.analysis(context, name, options)
        assert frame is not None
        parts.forget()
    place = {"context": context.key.digest, "known": known is not None}
    frame.attrs |= {"model": about["model"], "store": {"path": str(store.path), **place}}
    return frame


def _taken_over(
    store: Store, context: Context, materials: str, name: str, options: Mapping[str, Any]
) -> pd.DataFrame | None:
    """A table that was kept before its reference data were part of the key, under the new key.

    Nothing tells what it was made with: the first to ask has it, and others are measured.
    """
    older = replace(context, key=replace(context.key, materials=materials))
    frame = store.analysis(older, name, options)
    if frame is None:
        return None
    asked = f"{older.key.digest} {name} {json.dumps(dict(options), sort_keys=True)}"
    note = f"reference of {hashlib.sha256(asked.encode()).hexdigest()}"
    if store.note(note) not in (None, context.key.digest):
        return None
    store.keep_analysis(context, name, options, frame, store.begin(frame.attrs["provenance"]))
    store.keep_note(note, context.key.digest)
    return store.analysis(context, name, options)
