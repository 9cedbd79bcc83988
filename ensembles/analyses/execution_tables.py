"""Variants of spans, and the table of what they cost."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ensembles.analyses.base import Run
from ensembles.analyses.lesion_means import LesionMeans, attrs_of, fitting
from ensembles.analyses.some_rows import some_rows
from ensembles.decomposition import Decomposition
from ensembles.lesions import (
    Delete,
    Intact,
    Lesion,
    Middle,
    Parallel,
    Reorder,
    Repeat,
    Reverse,
    Shuffle,
)
from ensembles.lesions.structure import Structure
from ensembles.statistics import wilson_interval

if TYPE_CHECKING:
    from ensembles.analyses.members.execution import ExecutionOptions

__all__ = ["execution_frame", "neighbours"]

Array = NDArray[np.float64]


class _Variant(NamedTuple):
    """A span run in another way.

    Attributes:
        name: Of the way.
        first: First position of the span.
        last: Its last one.
        lesion: What does it.
        seed: Seed of a random order.
    """

    name: str
    first: int
    last: int
    lesion: Lesion
    seed: int | None = None


def neighbours(net: Decomposition) -> list[Lesion]:
    """The exchanges of two neighbours that have a meaning."""
    swaps = [Reorder(((place, place + 1),)) for place in range(1, len(net))]
    return fitting(Structure.of(net), swaps)[0]


def execution_frame(
    net: Decomposition, data: Any, options: ExecutionOptions, run: Run
) -> pd.DataFrame:
    """Run every span otherwise, and lay out what it costs."""
    wanted = list(_variants(len(net), options))
    fine, refused = fitting(Structure.of(net), (one.lesion for one in wanted))
    kept = set(fine)
    variants = [one for one in wanted if one.lesion in kept]
    spans = {(one.first, one.last) for one in variants if one.name == "reverse"}
    variants = [one for one in variants if one.name != "skip" or (one.first, one.last) in spans]
    rows = some_rows(data, options.rows, "execution")
    means = LesionMeans.measured(
        net, rows, [one.lesion for one in variants], run, metrics=("kl", "agreement")
    )
    places = means.numbers(one.lesion for one in variants)
    variants = [one for one, place in zip(variants, places, strict=True) if place >= 0]
    places = places[places >= 0]
    intact = means.numbers([Intact()])[0]

    def rises(loss: Array, _: Array) -> Array:
        rise: Array = loss[places] - loss[intact]
        return rise

    found = means.estimate(rises)
    swept = means.frame.iloc[places]
    low, high = wilson_interval((swept["total"] - swept["correct"]).to_numpy(), swept["total"])
    frame = pd.DataFrame(
        {
            "variant": [one.name for one in variants],
            "first": [one.first for one in variants],
            "last": [one.last for one in variants],
            "length": [one.last - one.first + 1 for one in variants],
            "seed": pd.array([one.seed for one in variants], "Int64"),
            "error": swept["error"].to_numpy(),
            "error_low": low,
            "error_high": high,
            "loss_rise": found.value,
            "loss_rise_low": found.low,
            "loss_rise_high": found.high,
            "kl": swept["kl"].to_numpy(),
            "agreement": swept["agreement"].to_numpy(),
        }
    )
    frame.attrs |= attrs_of(means.frame, refused_spans=len(refused))
    return frame


def _variants(n: int, options: ExecutionOptions) -> Iterator[_Variant]:
    """All that is asked for on n blocks, whether it has a meaning or not."""
    for length in options.sizes:
        for first in range(1, n - length + 2):
            span = first, first + length - 1
            blocks = tuple(range(first, first + length))
            yield _Variant("skip", *span, Delete(blocks))
            yield _Variant("middle", *span, Middle(span))
            yield _Variant("reverse", *span, Reverse(span))
            for order in range(options.orders):
                seed = options.seed + order
                yield _Variant("shuffle", *span, Shuffle(span, seed=seed), seed)
            yield _Variant("parallel", *span, Parallel(blocks, mean=True))
            yield _Variant("looped", *span, Parallel(blocks, mean=True, loops=options.loops))
    for place in range(1, n):
        yield _Variant("swap", place, place + 1, Reorder(((place, place + 1),)))
    if options.scan:
        for first in range(1, n + 1):
            for last in range(first, n + 1):
                yield _Variant("twice", first, last, Repeat((first, last), 2))
