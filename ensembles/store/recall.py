"""An analysis from a store, or into it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from ensembles.store.description import describe
from ensembles.store.fingerprints import Watched
from ensembles.store.store import Store

if TYPE_CHECKING:
    import pandas as pd

    from ensembles.decomposition import Decomposition
    from ensembles.tasks.base import Task

__all__ = ["recalled"]

Measure = Callable[[Any], "pd.DataFrame"]
"""Measures data; returns a table whose ``attrs`` hold its provenance."""


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
) -> pd.DataFrame:
    """Take the table of an analysis from a store; measure it where it is not there, and keep it.

    Args:
        store: The store.
        net: The network.
        data: The data.
        measure: Measures it on data, which it must read as they are given to it.
        name: Name of the analysis.
        options: The options that determine it, as JSON holds them.
        task: What is asked of the network; by default what suits it.
        precision: Precision of the computation.
        engine: Which engine computes.
        about: What is told of the network, its name as `model` at least.
        materials: sha256 of reference data and other networks; "" where none were given.

    Returns:
        The table as `measure` makes it; ``attrs["store"]`` says where it lies and if it was known.

    Raises:
        DataError: If the data cannot be read again, or change.
        StoreError: If the store cannot be read or written.
    """
    context, read = describe(
        net, data, task=task, precision=precision, engine=engine, about=about, materials=materials
    )
    frame = known = store.analysis(context, name, options)
    if frame is None:
        measured = measure(read)
        if isinstance(read, Watched):
            read.check()
        store.keep_analysis(
            context, name, options, measured, store.begin(measured.attrs["provenance"])
        )
        frame = store.analysis(context, name, options)
        assert frame is not None
    place = {"context": context.key.digest, "known": known is not None}
    frame.attrs |= {"model": about["model"], "store": {"path": str(store.path), **place}}
    return frame
