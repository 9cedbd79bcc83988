"""Effective paths of a table: the shortest interval of lengths that holds nearly everything."""

from __future__ import annotations

import numpy as np
import pandas as pd

from ensembles.analyses.path_columns import relative
from ensembles.errors import UsageError
from ensembles.tables.networks import by_network
from ensembles.unravelling.effective_interval import Effective, by_weight_layers, effective

__all__ = ["effective_paths"]

_MEASURES = {
    "coherent": ("gradient_coherent", False, "norm of the sum of all paths of a length"),
    "rms": ("gradient_rms", True, "number of paths times their RMS norm"),
    "mean": ("gradient_mean", True, "number of paths times their mean norm, as published"),
    "logits": ("logit_norm", False, "norm of what the paths of a length add to the logits"),
}


@by_network
def effective_paths(frame: pd.DataFrame, share: float = 0.95) -> pd.DataFrame:
    """Find the effective paths of a network by each measure that a table holds.

    Args:
        frame: What `ensembles.paths` returned; of several places the first, of classes all.
        share: The part of the measure to hold.

    Returns:
        One row for each measure: `measure`, `what`, `first`, `last`, `median` (in blocks), `share`
        (of all paths), `held`, and `layers_first`, `layers_last`, `layers_median` in weight layers
        of the blocks.

    Raises:
        UsageError: If the table is no path analysis, or `share` is not above 0 and up to 1.
    """
    if not 0 < share <= 1:
        raise UsageError(f"a share of {share}; expected more than 0 and at most 1")
    if not {"length", "paths"} <= set(frame.columns):
        raise UsageError("the table has no lengths and paths; expected what `paths` returned")
    for column in ("at", "class"):
        if column in frame.columns and len(frame):
            frame = frame[frame[column] == frame[column].iloc[0]]
    if frame["length"].duplicated().any():
        raise UsageError(
            "the table holds a length twice, as of two runs: give a table for each, or split it by "
            "the options that differ"
        )
    lengths = [int(length) for length in frame["length"]]
    counts = dict(zip(lengths, (int(number) for number in frame["paths"]), strict=True))
    joint = {(k, w): int(c) for k, w, c in frame.attrs.get("weight_layers", [])}
    rows = []
    for name, (column, multiplied, what) in _MEASURES.items():
        if column not in frame.columns or frame[column].isna().all():
            continue
        logs = frame[f"{column}_log10"].to_numpy(dtype=np.float64)
        values = relative(logs, list(counts.values()) if multiplied else None)
        measure = dict(zip(lengths, values.tolist(), strict=True))
        found = effective(measure, counts, share)
        if found is None:
            continue
        row: dict[str, object] = {"measure": name, "what": what, **vars(found)}
        layered = by_weight_layers(measure, joint) if set(counts) == {k for k, _ in joint} else {}
        if layered:
            of_layers = effective(layered, dict.fromkeys(layered, 1), share)
            assert of_layers is not None
            row |= {
                "layers_first": of_layers.first,
                "layers_last": of_layers.last,
                "layers_median": of_layers.median,
            }
        rows.append(row)
    columns = ["measure", "what", *Effective.__dataclass_fields__]
    layers = ["layers_first", "layers_last", "layers_median"]
    table = pd.DataFrame(rows, columns=columns + [n for n in layers if any(n in r for r in rows)])
    whole = [
        name for name in table.columns if name.startswith(("first", "last", "median", "layer"))
    ]
    return table.astype(dict.fromkeys(whole, "Int64"))
