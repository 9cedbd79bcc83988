"""Pairs of blocks that take each other's places, and the table of how far the output moves."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ensembles.analyses.base import Run
from ensembles.analyses.lesion_means import LesionMeans, attrs_of, fitting
from ensembles.analyses.some_rows import some_rows
from ensembles.decomposition import Decomposition
from ensembles.errors import LesionError
from ensembles.lesions import Lesion, Reorder, Replace
from ensembles.lesions.structure import Structure

if TYPE_CHECKING:
    from ensembles.analyses.members.interchange import InterchangeOptions

__all__ = ["interchange_frame"]

Pair = tuple[int, int]


def interchange_frame(
    net: Decomposition, data: Any, options: InterchangeOptions, run: Run
) -> pd.DataFrame:
    """Put every block at every other one's place, and lay out how far the output moves."""
    n, far = len(net), options.distance or len(net)
    pairs = [(i, j) for i in range(1, n + 1) for j in range(1, n + 1) if 0 < abs(i - j) <= far]
    replaced: dict[Pair, Lesion] = {(i, j): Replace(i, by=j) for i, j in pairs}
    exchanged: dict[Pair, Lesion] = {(i, j): Reorder(((min(i, j), max(i, j)),)) for i, j in pairs}
    fine, refused = fitting(
        Structure.of(net), dict.fromkeys([*replaced.values(), *exchanged.values()])
    )
    kept = set(fine)
    pairs = [pair for pair in pairs if replaced[pair] in kept or exchanged[pair] in kept]
    if not pairs:
        raise LesionError(
            f"interchange: no two blocks of {net.model_name} have equal shapes, so that none can "
            "take another one's place; choose a network with longer stages"
        )
    rows = some_rows(data, options.rows, "interchange")
    means = LesionMeans.measured(net, rows, fine, run, metrics=("kl_folds",))
    columns: dict[str, Any] = {}
    for name, lesions in (("replaced", replaced), ("exchanged", exchanged)):
        places = means.numbers(lesions[pair] for pair in pairs)
        found = means.estimate_kl(partial(np.take, indices=places))
        columns |= {name: found.value, f"{name}_low": found.low, f"{name}_high": found.high}
    frame = pd.DataFrame(
        {
            "block": [i for i, _ in pairs],
            "name": [net.block(i).name for i, _ in pairs],
            "other": [j for _, j in pairs],
            "other_name": [net.block(j).name for _, j in pairs],
            "distance": [abs(i - j) for i, j in pairs],
            **columns,
        }
    )
    frame.attrs |= attrs_of(means.frame, refused_pairs=len(refused))
    return frame
