"""Blocks with the branch of another, and pairs of blocks exchanged."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ensembles.analyses.base import Analysis, Options, Run, option
from ensembles.errors import UsageError

if TYPE_CHECKING:
    from typing import Any

    import pandas as pd

    from ensembles.decomposition import Decomposition

__all__ = ["MEMBER", "Interchange", "InterchangeOptions"]


@dataclass(frozen=True)
class InterchangeOptions(Options):
    """Which pairs of blocks are looked at.

    Attributes:
        rows: At most so many rows of the data.
        distance: Pairs of blocks at most so far from each other.
    """

    rows: int = option(
        "At most so many rows of the data (images, windows), spread evenly; 0 for all.", 16
    )
    distance: int = option("Pairs of blocks at most so far from each other; 0 for all.", 0)

    def check(self) -> None:
        """Refuse negative numbers.

        Raises:
            UsageError: Naming the option.
        """
        super().check()
        for name in ("rows", "distance"):
            if getattr(self, name) < 0:
                raise UsageError(f"{name} {getattr(self, name)}; expected 0 or more")


class Interchange(Analysis[InterchangeOptions]):
    """How far the output moves where one block does another one's work.

    For every pair of blocks of equal shape, KL(intact || lesioned) with the branch of j also at the
    place of i (replacement), and with i and j exchanged. Replacement is small where blocks do the
    same; exchange where they moreover do not depend on their order. No labels are needed. Source:
    arXiv 2605.16234.
    """

    name = "interchange"
    summary = "How far the output moves where one block does another one's work."
    source = "replacement and interchange: 2605.16234"
    options = InterchangeOptions
    label = ("block", "other")
    shown = (
        "block", "other", "name", "other_name", "replaced", "replaced_low", "replaced_high",
        "exchanged", "exchanged_low", "exchanged_high",
    )  # fmt: skip
    figure = "ensembles.plots.interchange:plot_interchange"

    def measure(
        self, net: Decomposition, data: Any, options: InterchangeOptions, run: Run
    ) -> pd.DataFrame:
        """One row for each ordered pair of different blocks.

        Returns:
            ``block`` i and ``other`` j with their names, and ``distance`` abs(i - j);
            ``replaced``, the mean divergence in nats with j's branch also at i, and ``exchanged``,
            that with i and j exchanged (the same for (j, i)), each with ``_low`` and ``_high``
            (over rows, a jackknife over 32 parts); NaN where it has no meaning.

        Raises:
            LesionError: If no two blocks have equal shapes.
            EnsemblesError: As :func:`ensembles.lesion` raises it.
        """
        from ensembles.analyses.interchange_tables import interchange_frame  # noqa: PLC0415

        return interchange_frame(net, data, options, run)

    def views(self, frame: pd.DataFrame) -> dict[str, pd.DataFrame]:
        """Medians by distance, and how far apart the two are."""
        groups = frame.groupby("distance")
        table = groups[["replaced", "exchanged"]].median()
        table.insert(0, "pairs", groups.size())
        table["replaced_over_exchanged"] = table["replaced"] / table["exchanged"]
        return {"Medians by distance (nats)": table.reset_index()}

    def notes(self, frame: pd.DataFrame) -> list[str]:
        """Both for neighbours and for the pairs that are farthest apart."""
        lines = []
        for distance in sorted({int(frame["distance"].min()), int(frame["distance"].max())}):
            rows = frame[frame["distance"] == distance]
            lines.append(
                f"blocks {distance} apart: median divergence {rows['replaced'].median():.3g} nats "
                f"with one in place of the other, {rows['exchanged'].median():.3g} exchanged"
            )
        return lines


MEMBER = Interchange()
