"""Bootstrap intervals of tables: what other images, or other random lesions, would have shown."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ensembles.errors import UsageError, nearest
from ensembles.statistics.bootstrap import percentile_interval
from ensembles.statistics.paired import names_of, require_intact
from ensembles.tables.networks import by_network
from ensembles.tables.readings import lesioned, read_lesion
from ensembles.tables.schema import INTACT, WHOLE, require_columns

__all__ = ["bootstrap_by_count", "bootstrap_images"]

_STATISTICS: dict[str, Callable[..., Any]] = {"median": np.median, "mean": np.mean}


@by_network
def bootstrap_by_count(
    frame: pd.DataFrame,
    statistic: str = "median",
    *,
    confidence: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
    column: str = "error",
) -> pd.DataFrame:
    """Say how far the summary of random lesions would move with other draws of the same number.

    The lesions of one kind and count are resampled. It means nothing where every lesion there is
    was made, as in the deletion of each single block.

    Args:
        frame: Lesions, with the columns ``lesion``, ``count`` and the measure.
        statistic: ``median`` or ``mean`` of the measure.
        confidence: Level of confidence.
        resamples: How often the lesions are drawn anew.
        seed: Seed of the random draws.
        column: The measure.

    Returns:
        One row for each ``lesion`` and ``count``, the intact network left out: ``n`` (lesions that
        have the measure), the statistic under its name, ``low``, ``high``; NaN below 2 lesions.

    Raises:
        UsageError: A column is missing, or the statistic is unknown.
    """
    require_columns(frame, "lesion", "count", column)
    function = _statistic(statistic)
    rows = []
    cut = lesioned(frame)
    measured = cut[cut[column].notna()]
    for (kind, count), group in measured.groupby(["lesion", "count"], sort=True):
        values = group[column].to_numpy(float)
        low, high = np.nan, np.nan
        if len(values) > 1:
            low, high = percentile_interval(
                [values], function, confidence=confidence, resamples=resamples, seed=seed
            )
        rows.append((kind, count, len(values), function(values), float(low), float(high)))
    return pd.DataFrame(rows, columns=["lesion", "count", "n", statistic, "low", "high"])


def bootstrap_images(
    correct: pd.DataFrame,
    statistic: str = "median",
    *,
    confidence: float = 0.95,
    resamples: int = 1000,
    seed: int = 0,
) -> pd.DataFrame:
    """Say how far the summary of a set of lesions would move with other images.

    The images are resampled, and each draw serves all lesions and the intact network: what the
    same hard images do to all of them stays in.

    Args:
        correct: As :func:`correct_by_image` gives it, with the column ``("none", "")``.
        statistic: ``median`` or ``mean`` over the lesions of one kind and count.
        confidence: Level of confidence.
        resamples: How often the images are drawn anew.
        seed: Seed of the random draws.

    Returns:
        One row for each ``lesion`` and ``count``, the intact network first: ``n`` (lesions), the
        statistic of the error under its name, ``low``, ``high``, and ``difference``,
        ``difference_low``, ``difference_high``: the same less the intact network's error.

    Raises:
        UsageError: The intact network is missing, there are no images, or the statistic is unknown.
    """
    require_intact(correct)
    function = _statistic(statistic)
    names = names_of(correct)
    groups: dict[tuple[str, int], list[int]] = {(INTACT, 0): [names.index(WHOLE)]}
    for place, (kind, blocks) in enumerate(names):
        if (kind, blocks) != WHOLE:
            groups.setdefault((kind, _size(kind, blocks)), []).append(place)
    wrong = 1.0 - correct.to_numpy(float)
    n = len(wrong)

    def measure(index: NDArray[np.int64], axis: int = -1) -> NDArray[np.float64]:
        flat = index.reshape(-1, n)
        weights = np.stack([np.bincount(row, minlength=n) for row in flat]) / n
        errors = weights @ wrong
        each = np.stack([function(errors[:, places], axis=-1) for places in groups.values()])
        both = np.stack([each, each - each[:1]])
        return both.reshape(2, len(groups), *index.shape[:-1])

    value, difference = measure(np.arange(n))
    low, high = percentile_interval(
        [np.arange(n)], measure, confidence=confidence, resamples=resamples, seed=seed
    )
    return pd.DataFrame(
        {
            "lesion": pd.Series([kind for kind, _ in groups], dtype="str"),
            "count": [count for _, count in groups],
            "n": [len(places) for places in groups.values()],
            statistic: value,
            "low": low[0],
            "high": high[0],
            "difference": difference,
            "difference_low": low[1],
            "difference_high": high[1],
        }
    ).sort_values(["lesion", "count"], key=_intact_first, ignore_index=True)


def _size(kind: str, blocks: str) -> int:
    """The size of a lesion; of a kind that is not known here, the number of its words."""
    found = read_lesion(kind, blocks)
    return found.count if found.known else len(blocks.split())


def _intact_first(column: pd.Series[Any]) -> pd.Series[Any]:
    return column.where(column != INTACT, "") if column.name == "lesion" else column


def _statistic(name: str) -> Callable[..., Any]:
    if name not in _STATISTICS:
        raise UsageError(
            f"statistic '{name}'; expected {' or '.join(_STATISTICS)}{nearest(name, _STATISTICS)}"
        )
    return _STATISTICS[name]
