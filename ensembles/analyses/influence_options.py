"""How influence is measured, as a frozen value that needs no torch."""

from __future__ import annotations

from dataclasses import dataclass

from ensembles.analyses.base import Options, option
from ensembles.errors import UsageError

__all__ = ["DAMAGES", "PROXIES", "InfluenceOptions"]

PROXIES = ("influence", "angle", "branch_ratio", "branch_cosine")
"""What is measured on the intact network."""

DAMAGES = ("loss_rise", "accuracy_fall", "kl", "disagreement")
"""What deletion does; disagreement is 1 - agreement, so that more is more damage."""


@dataclass(frozen=True)
class InfluenceOptions(Options):
    """How influence is measured.

    Attributes:
        span: Spans of so many blocks are compared and deleted too, each from its first block; 1
            for none.
        cosine: Over what vectors cosines and norms are taken.
        resamples: How often blocks are drawn anew for the intervals of rank correlations.
        seed: Seed of these draws.
    """

    span: int = option("Compare and delete spans of so many blocks too; 1 for none.", 1)
    cosine: str = option(
        "position: over channels at each position, then averaged; flattened: over all values of a "
        "row; last: over channels at the last position of a sequence.",
        "position", choices=("position", "flattened", "last"),
    )  # fmt: skip
    resamples: int = option(
        "How often blocks are drawn anew for the intervals of rank correlations.", 1000
    )
    seed: int = option("Seed of these draws.", 0)

    def check(self) -> None:
        """Refuse spans of no block, and too few resamples.

        Raises:
            UsageError: Naming the option.
        """
        super().check()
        if self.span < 1:
            raise UsageError(f"a span of {self.span} blocks; expected 1 or more")
        if self.resamples < 10:
            raise UsageError(f"{self.resamples} resamples; expected at least 10")

    @property
    def random(self) -> bool:
        """No: only the ends of intervals are drawn."""
        return False
