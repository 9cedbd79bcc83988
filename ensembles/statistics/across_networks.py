"""Several networks of one architecture, as of several seeds: means with intervals over networks."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy.stats import t as student

from ensembles.errors import UsageError
from ensembles.tables.networks import all_networks
from ensembles.tables.schema import require_columns

__all__ = ["across_networks"]


def across_networks(
    frames: pd.DataFrame | Sequence[pd.DataFrame],
    column: str = "error",
    *,
    confidence: float = 0.95,
) -> pd.DataFrame:
    """Mean of a measure over networks, lesion by lesion, with an interval over networks.

    The networks are the sample: the interval says how far the mean would move with other seeds of
    the training, and says nothing of other images. It is Student's, ``mean +- t s / sqrt(n)`` with
    n - 1 degrees of freedom.

    Args:
        frames: Tables of lesions, one a network, or one that holds several.
        column: The measure.
        confidence: Level of confidence.

    Returns:
        One row for each lesion that all networks have, in the order of the first: ``lesion``,
        ``count``, ``blocks``, ``n`` (networks that have the measure), ``mean``, ``sd``, ``low``,
        ``high``; the last three NaN for one network.

    Raises:
        UsageError: A column is missing, the networks have no lesion in common, one holds a lesion
            twice, or the level is not between 0 and 1.
    """
    if not 0 < confidence < 1:
        raise UsageError(f"confidence {confidence}: expected a number between 0 and 1")
    tables = all_networks(frames)
    key = ["lesion", "count", "blocks"]
    measured = []
    for place, table in enumerate(tables):
        require_columns(table, *key, column)
        bare = pd.DataFrame({name: table[name].to_numpy() for name in [*key, column]})
        bare["blocks"] = bare["blocks"].fillna("").astype(str)
        if bare.duplicated(key).any():
            raise UsageError(
                f"network {place + 1} of {len(tables)} holds a lesion twice; give a table for each"
            )
        measured.append(bare.set_index(key)[column].rename(place))
    if not measured:
        raise UsageError("no tables of lesions; give one for each network")
    each = pd.concat(measured, axis=1, join="inner")
    if each.empty:
        raise UsageError("the networks have no lesion in common; expected the same architecture")
    n = each.notna().sum(axis=1)
    spread = each.std(axis=1, ddof=1)
    half = student.ppf((1 + confidence) / 2, np.maximum(n - 1, 1)) * spread / np.sqrt(n)
    mean = each.mean(axis=1)
    found = pd.DataFrame(
        {"n": n, "mean": mean, "sd": spread, "low": mean - half, "high": mean + half}
    )
    return found.reset_index()
