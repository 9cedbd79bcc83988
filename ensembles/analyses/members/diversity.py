"""Whether the sub-networks of a network are an ensemble, as independent networks are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ensembles.analyses.base import Analysis, Options, Run, option
from ensembles.errors import UsageError

if TYPE_CHECKING:
    from typing import Any

    import pandas as pd

    from ensembles.decomposition import Decomposition

__all__ = ["MEMBER", "Diversity", "DiversityOptions"]


@dataclass(frozen=True)
class DiversityOptions(Options):
    """Which sub-networks are looked at.

    Attributes:
        members: How many sub-networks.
        share: The share of the blocks that each of them lacks.
        rows: At most so many rows of the data.
        seed: Seed of the draws.
    """

    members: int = option("Sub-networks; of an average, all its members.", 12)
    share: float = option("Share of the blocks that each sub-network lacks, one at least.", 0.1)
    rows: int = option(
        "At most so many rows of the data (images, windows), spread evenly; 0 for all.", 256
    )
    seed: int = option("Seed of the draws of blocks.", 0)

    def check(self) -> None:
        """Refuse numbers that make no sub-networks.

        Raises:
            UsageError: Naming the option.
        """
        super().check()
        if self.members < 2:
            raise UsageError(f"{self.members} members; expected 2 or more")
        if not 0 < self.share < 1:
            raise UsageError(f"share {self.share}; expected more than 0 and less than 1")
        if self.rows < 0:
            raise UsageError(f"rows {self.rows}; expected 0 or more")


class Diversity(Analysis[DiversityOptions]):
    """Sub-networks as the members of an ensemble, and the average of their probabilities.

    A residual network's sub-networks lack a random share of its blocks each; those of an average
    of networks (:class:`ensembles.models.Average`, ``--average``) are its members, trained apart,
    which is what sub-networks are compared with. Measured are the disagreement of pairs of members
    (the share of observations with different answers), the correlation of their errors (Pearson's,
    of being wrong), Brier score and calibration of members and of the average of the first m of
    them. An average gains only by disagreement: its Brier score is the members' mean score less
    their mean squared distance from the average (Krogh and Vedelsby 1995, equation 6). Veit et al.
    2016 (1605.06431) say "ensemble" for how error grows with deletions, and measure none of these.

    Different from Fort, Hu and Lakshminarayanan 2019 (1912.02757, section 5), who divide the
    disagreement with one network by the error of the other: pairs of members are taken, and their
    disagreement is divided by the sum of both errors, so that 0 is alike and 1 never wrong at once.
    """

    name = "diversity"
    summary = "Whether sub-networks differ as the members of an ensemble do, and gain by it."
    source = "Fort et al. 2019 (1912.02757), section 5; Krogh and Vedelsby 1995"
    options = DiversityOptions
    label = ("role", "members", "deleted")
    shown = (
        "role", "members", "deleted", "error", "error_low", "error_high", "loss", "brier", "ece",
        "disagreement", "relative_disagreement", "error_correlation",
    )  # fmt: skip
    figure = "ensembles.plots.diversity:plot_diversity"

    def measure(
        self, net: Decomposition, data: Any, options: DiversityOptions, run: Run
    ) -> pd.DataFrame:
        """One row for the intact network, each member, and the average of the first 2, 3, ...

        Returns:
            ``role`` ("intact", "member", "average"), ``members``, over how many a row is, and
            ``deleted``, the blocks that a member lacks; ``error`` (a share), ``loss`` (nats),
            ``brier`` (0 to 2) and ``ece`` (expected calibration error, 15 bins), each with
            ``_low`` and ``_high`` (over rows, a jackknife over 32 parts); of members
            ``disagreement``, ``relative_disagreement`` (over the sum of both errors) and
            ``error_correlation``, means over the others.
            ``attrs["ensemble"]`` holds what is true of the whole, with intervals.

        Raises:
            LesionError: If fewer than two sub-networks can be made.
            EnsemblesError: As the data or the network raise it.
        """
        from ensembles.analyses.diversity_tables import diversity_frame  # noqa: PLC0415

        return diversity_frame(net, data, options, run)

    def views(self, frame: pd.DataFrame) -> dict[str, pd.DataFrame]:
        """What is true of the members together."""
        import pandas as pd  # noqa: PLC0415

        rows = pd.DataFrame(frame.attrs.get("ensemble", []))
        numbers = [name for name in ("value", "low", "high") if name in rows.columns]
        return {"The members together": rows.astype(dict.fromkeys(numbers, float))}

    def notes(self, frame: pd.DataFrame) -> list[str]:
        """What members are, how alike their errors are, and what their average gains."""
        known = {row["what"]: row for row in frame.attrs.get("ensemble", [])}
        lines = [f"members: {frame.attrs['made']}"] if "made" in frame.attrs else []
        for what in ("correlation of errors", "error: members' mean less average's"):
            row = known.get(what)
            if row is not None and row["value"] is not None:
                ends = "" if row["low"] is None else f" ({row['low']:.3g} to {row['high']:.3g})"
                lines.append(f"{what}: {row['value']:.3g}{ends}")
        return lines


MEMBER = Diversity()
