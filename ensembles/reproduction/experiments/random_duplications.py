"""Random sets of blocks run twice."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from ensembles.reproduction.criteria import FILLED, correlation, of_kind, spread
from ensembles.reproduction.experiment import Comparison, Experiment, Parts, Picture
from ensembles.reproduction.judgements import Claim, Finding, Frames
from ensembles.reproduction.named import NotMeasured
from ensembles.reproduction.published import published_quartiles
from ensembles.reproduction.random_lesions import (
    GROWS,
    compared,
    drawn,
    published_rho,
    random_parts,
)
from ensembles.statistics import bootstrap_interval

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ensembles.reproduction.bench import Bench

    Array = NDArray[np.float64]

__all__ = ["RandomDuplications", "less_than_deleting"]

_BOTH = 10


class RandomDuplications(Experiment):
    """Random sets of 1 to 10 blocks run twice in a row."""

    key = "duplicate"
    title = "Duplicating blocks"
    about = (
        "Random sets of 1 to 10 blocks that keep the shape run twice in a row. The authors' raw "
        "results hold these lesions; the text does not speak of them.",
    )

    def parts(self, bench: Bench) -> Parts:
        """See the base class."""
        return random_parts(bench, "duplicate", "delete")

    def claims(self) -> tuple[Claim, ...]:
        """See the base class."""
        copied, cut = (
            100 * published_quartiles(kind).set_index("count")["median"][_BOTH]
            for kind in ("duplicate", "delete")
        )
        return (
            Claim(
                "The error grows with the number of duplicated blocks (raw results)",
                GROWS,
                published_rho("duplicate"),
                ("duplicate",),
                lambda frames: correlation(frames["duplicate"], "duplicate"),
            ),
            Claim(
                "Duplicating blocks costs less than deleting as many (raw results)",
                "at the largest number of blocks, the bootstrap interval of the difference of the "
                "median errors lies below 0",
                f"{_BOTH} blocks: duplicated {copied:.2f} %, deleted {cut:.2f} %",
                ("duplicate", "delete"),
                less_than_deleting,
            ),
        )

    def draw(self, frames: Frames) -> list[Picture]:
        """See the base class."""
        return drawn(frames, "duplicate", "count", "Number of duplicated blocks")

    def compare(self, frames: Frames) -> list[Comparison]:
        """See the base class."""
        return compared(frames, "duplicate", "count")


def less_than_deleting(frames: Frames) -> Finding:
    """Median error after duplicating less that after deleting as many blocks.

    For the largest number of blocks that both were drawn for; holds where the bootstrap interval of
    the difference lies below 0.
    """
    copied, cut = (of_kind(frames[kind], kind) for kind in ("duplicate", "delete"))
    both = set(copied["count"]) & set(cut["count"])
    if not both:
        raise NotMeasured("no number of blocks was both duplicated and deleted")
    count = max(both)
    a, b = _errors(copied, count), _errors(cut, count)
    if min(len(a), len(b)) < FILLED:
        raise NotMeasured(f"fewer than {FILLED} lesions of {count} blocks")

    def difference(copies: Array, cuts: Array, axis: int = -1) -> Array:
        return np.asarray(np.median(copies, axis=axis) - np.median(cuts, axis=axis))

    low, high = bootstrap_interval(difference, a, b)
    text = (
        f"{count} blocks: duplicated {100 * np.median(a):.2f} %, deleted {100 * np.median(b):.2f} %"
    )
    return Finding(text, f"difference {spread(low, high)}", high < 0)


def _errors(lesions: pd.DataFrame, count: int) -> Array:
    return lesions.loc[lesions["count"] == count, "error"].dropna().to_numpy(float)
