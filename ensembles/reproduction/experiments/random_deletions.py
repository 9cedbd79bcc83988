"""Figure 5a: random sets of blocks deleted."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from ensembles.reproduction.criteria import FILLED, chance_of, correlation, intact_error, smoothness
from ensembles.reproduction.experiment import Comparison, Experiment, Parts, Picture
from ensembles.reproduction.judgements import Claim, Finding, Frames
from ensembles.reproduction.named import NotMeasured
from ensembles.reproduction.published import RESIDUAL, facts, published_quartiles
from ensembles.reproduction.random_lesions import (
    GROWS,
    RISES_SMOOTHLY,
    compared,
    drawn,
    published_rho,
    published_rise,
    random_parts,
)
from ensembles.statistics import bootstrap_interval

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ensembles.reproduction.bench import Bench

__all__ = ["RandomDeletions", "half_way"]


class RandomDeletions(Experiment):
    """Random sets of 1 to 20 blocks are deleted."""

    key = "5a"
    title = "Figure 5a: deleting several blocks"
    about = (
        "Random sets of 1 to 20 blocks are deleted, each set of a size as likely as any other.",
    )

    def parts(self, bench: Bench) -> Parts:
        """See the base class."""
        return random_parts(bench, "delete")

    def claims(self) -> tuple[Claim, ...]:
        """See the base class."""
        published = _published_half_way()
        return (
            Claim(
                "The error grows with the number of deleted blocks",
                GROWS,
                published_rho("delete"),
                ("delete",),
                lambda frames: correlation(frames["delete"], "delete"),
            ),
            Claim(
                "The error grows smoothly with the number of deleted blocks",
                RISES_SMOOTHLY,
                published_rise("delete"),
                ("delete",),
                lambda frames: smoothness(frames["delete"], "delete"),
            ),
            Claim(
                f"From {published} deleted blocks on, the median error lies nearer to guessing "
                "than to the intact network",
                "the bootstrap interval of our number of blocks holds the published one",
                str(published),
                ("delete",),
                lambda frames: half_way(frames["delete"], published),
            ),
        )

    def draw(self, frames: Frames) -> list[Picture]:
        """See the base class."""
        return drawn(frames, "delete", "count", "Number of deleted blocks")

    def compare(self, frames: Frames) -> list[Comparison]:
        """See the base class."""
        return compared(frames, "delete", "count")


def half_way(frame: pd.DataFrame, published: int) -> Finding:
    """From how many deleted blocks on the median error is nearer to chance than to intact.

    Holds where the bootstrap interval over lesions holds the published number.
    """
    level = (intact_error(frame) + chance_of(frame)) / 2
    cut = frame[(frame["lesion"] == "delete") & frame["error"].notna()]
    groups = [group["error"].to_numpy(float) for _, group in cut.groupby("count")]
    if min(map(len, groups), default=0) < FILLED:
        raise NotMeasured(f"fewer than {FILLED} lesions of a size")
    last = int(cut["count"].max())
    counts = np.array([*sorted(set(cut["count"])), last + 1], float)

    def passing(*drawn: NDArray[np.float64], axis: int = -1) -> NDArray[np.float64]:
        above = np.stack([np.median(group, axis=axis) >= level for group in drawn], axis=-1)
        return counts[np.where(above.any(axis=-1), above.argmax(axis=-1), len(counts) - 1)]

    ours = float(passing(*groups))
    low, high = bootstrap_interval(passing, *groups)
    return Finding(
        _number(ours, last),
        f"{_number(low, last)} to {_number(high, last)}",
        bool(low <= published <= high),
    )


def _number(count: float, last: int) -> str:
    return f"{round(count)}" if count <= last else f"more than {last}"


def _published_half_way() -> int:
    known = published_quartiles("delete")
    intact = facts()["single_deletion"][RESIDUAL]["intact"]
    return int(known.loc[known["median"] >= (intact + 0.9) / 2, "count"].iloc[0])
