"""An analysis from a store, or into it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from ensembles.store.description import describe
from ensembles.store.fingerprints import Watched

if TYPE_CHECKING:
    import pandas as pd

    from ensembles.decomposition import Decomposition
    from ensembles.store import Store
    from ensembles.tasks.base import Task

__all__ = ["kept"]

Measure = Callable[[Any], "pd.DataFrame"]
"""Measures data; returns a table whose ``attrs`` hold its provenance."""


def kept(
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
) -> pd.DataFrame:
    """Take a table from a store; measure it where it is not there, and keep it.

    Args:
        store: The store.
        net: The network.
        data: The data.
        measure: Measures it.
        name: Name of the analysis.
        options: The options that determine it.
        task: What is asked of the network.
        precision: Precision of the computation.
        engine: Which engine computes.
        about: What is told of the network, its name as `model` at least.

    Returns:
        The table as `measure` makes it, with ``attrs["store"]``: where it lies, and whether it
        was known.
    """
    context, read = describe(
        net, data, task=task, precision=precision, engine=engine, about=dict(about)
    )
    frame = store.analysis(context, name, options)
    known = frame is not None
    if frame is None:
        measured = measure(read)
        if isinstance(read, Watched):
            read.check()
        run = store.begin(measured.attrs["provenance"])
        store.keep_analysis(context, name, options, measured, run)
        frame = store.analysis(context, name, options)
        assert frame is not None
    place = {"path": str(store.path), "context": context.key.digest, "known": known}
    frame.attrs |= {"model": about["model"], "store": place}
    return frame
