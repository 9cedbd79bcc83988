"""A path analysis from a store, or into it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pandas as pd

from ensembles.analyses.path_options import PathOptions
from ensembles.decomposition import Decomposition
from ensembles.store.description import describe
from ensembles.store.fingerprints import Watched
from ensembles.store.store import Store

__all__ = ["recalled"]


def recalled(
    store: Store | str | Path,
    net: Decomposition,
    data: Any,
    options: PathOptions,
    measure: Callable[[], pd.DataFrame],
    **about: Any,
) -> pd.DataFrame:
    """Take a path analysis from a store; measure it where it is not there, and keep it.

    Args:
        store: The store, or its path.
        net: The network.
        data: The images.
        options: How it is measured.
        measure: Measures it.
        about: What is told of the network, its name as `model` at least.

    Returns:
        The table as `measure` makes it, with `attrs["store"]`.
    """
    with Store(store) if isinstance(store, (str, Path)) else nullcontext(store) as opened:
        context, read = describe(
            net, data, precision=options.precision, engine=options.engine, about=about
        )
        key = options.determining
        frame = opened.path_frame(context, key)
        known = frame is not None
        if frame is None:
            measured = measure()
            if isinstance(read, Watched):
                read.check()
            run = opened.begin(measured.attrs["provenance"])
            opened.keep_paths(context, key, measured, run)
            frame = opened.path_frame(context, key)
            assert frame is not None
        place = {"path": str(opened.path), "context": context.key.digest, "known": known}
    frame.attrs |= {"model": about["model"], "store": place}
    return frame
