"""Figure 5b: random blocks change places."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ensembles.reproduction.criteria import correlation, smoothness
from ensembles.reproduction.experiment import Comparison, Experiment, Parts, Picture
from ensembles.reproduction.judgements import Claim, Frames
from ensembles.reproduction.random_lesions import (
    RISES_SMOOTHLY,
    compared,
    drawn,
    published_rho,
    published_rise,
    random_parts,
)

if TYPE_CHECKING:
    from ensembles.reproduction.bench import Bench

__all__ = ["RandomReorderings"]


class RandomReorderings(Experiment):
    """Random pairs of blocks change places, 1 to 10 times."""

    key = "5b"
    title = "Figure 5b: reordering blocks"
    about = (
        "Random pairs of blocks of equal shape change places, 1 to 10 times; Kendall tau measures "
        "how much of the order is left.",
    )

    def parts(self, bench: Bench) -> Parts:
        """See the base class."""
        return random_parts(bench, "reorder")

    def claims(self) -> tuple[Claim, ...]:
        """See the base class."""
        return (
            Claim(
                "The error grows as the order is lost",
                "the interval of Spearman's rank correlation with Kendall tau lies below 0",
                published_rho("reorder", "kendall_tau"),
                ("reorder",),
                lambda frames: correlation(frames["reorder"], "reorder", "kendall_tau"),
            ),
            Claim(
                "The error grows smoothly as the order is lost",
                RISES_SMOOTHLY + " (bins of Kendall tau of width 0.025)",
                published_rise("reorder", "tau"),
                ("reorder",),
                lambda frames: smoothness(frames["reorder"], "reorder", "tau"),
            ),
        )

    def draw(self, frames: Frames) -> list[Picture]:
        """See the base class."""
        return drawn(frames, "reorder", "tau", "Kendall tau of the order of the blocks")

    def compare(self, frames: Frames) -> list[Comparison]:
        """See the base class."""
        return compared(frames, "reorder", "tau")
