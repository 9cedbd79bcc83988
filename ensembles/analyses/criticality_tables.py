"""Blocks without their trained weights, and the table of what is left."""

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
from ensembles.lesions import Delete, Intact, Lesion, Randomize, Reset
from ensembles.lesions.structure import Structure

if TYPE_CHECKING:
    from ensembles.analyses.members.criticality import CriticalityOptions

__all__ = ["criticality_frame"]

Array = NDArray[np.float64]


class _Case(NamedTuple):
    """A block without its trained weights.

    Attributes:
        block: Its number.
        variant: What it has in their place.
        lesions: What does it, one for each seed.
    """

    block: int
    variant: str
    lesions: tuple[Lesion, ...]


def criticality_frame(
    net: Decomposition, data: Any, options: CriticalityOptions, run: Run
) -> pd.DataFrame:
    """Take the weights of every block, and lay out what is left."""
    wanted = list(_cases(len(net), options, initial=run.initial is not None))
    fine, refused = fitting(Structure.of(net), (one for case in wanted for one in case.lesions))
    kept = set(fine)
    cases = [case for case in wanted if kept.issuperset(case.lesions)]
    lesions = [one for case in cases for one in case.lesions]
    if options.recalibrated:
        lesions = [one.recalibrated(options.recalibrated, options.batch) for one in lesions]
    rows = some_rows(data, options.rows, "criticality")
    means = LesionMeans.measured(net, rows, lesions, run, metrics=("cosine",))
    places, owners = means.numbers(lesions), _owners(cases)
    intact = means.numbers([Intact()])[0]

    def by_case(values: Array) -> Array:
        return np.bincount(owners, values, len(cases)) / np.bincount(owners, minlength=len(cases))

    def statistic(loss: Array, error: Array) -> Array:
        accuracy = by_case(1 - error[places])
        return np.stack(
            [accuracy, accuracy / (1 - error[intact]), by_case(loss[places] - loss[intact])]
        )

    found = means.estimate(statistic)
    each = means.estimate(lambda _, error: (1 - error[places]) / (1 - error[intact])).value
    cosine = np.append(means.frame["cosine"].to_numpy(float), np.nan)[places]
    parts = [each[owners == number] for number in range(len(cases))]
    frame = pd.DataFrame(
        {
            "block": [case.block for case in cases],
            "name": [net.block(case.block).name for case in cases],
            "variant": [case.variant for case in cases],
            "trials": [len(case.lesions) for case in cases],
            "accuracy": found.value[0],
            "recovered": found.value[1],
            "recovered_low": found.low[1],
            "recovered_high": found.high[1],
            "recovered_least": [part.min() for part in parts],
            "recovered_most": [part.max() for part in parts],
            "cosine": by_case(cosine),
            "loss_rise": found.value[2],
        }
    )
    frame.attrs |= attrs_of(means.frame, refused=refused)
    return frame


def _cases(n: int, options: CriticalityOptions, *, initial: bool) -> Iterator[_Case]:
    """Every block in every variant, whether it has a meaning or not."""
    seeds = range(options.seed, options.seed + options.trials)
    for block in range(1, n + 1):
        if initial:
            yield _Case(block, "reset", (Reset((block,)),))
        for how in ("init", "permute"):
            drawn = tuple(Randomize((block,), seed=seed, how=how) for seed in seeds)
            yield _Case(block, how, drawn)
        yield _Case(block, "zero", (Delete((block,)),))


def _owners(cases: list[_Case]) -> NDArray[np.int64]:
    """Number of the case of each lesion."""
    return np.repeat(np.arange(len(cases)), [len(case.lesions) for case in cases])
