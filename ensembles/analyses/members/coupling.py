"""Whether blocks act along the same directions: singular vectors of branch Jacobians compared."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ensembles.analyses.base import Analysis, HeatMap, Options, Run, option
from ensembles.errors import UsageError

if TYPE_CHECKING:
    from typing import Any

    import pandas as pd

    from ensembles.decomposition import Decomposition

__all__ = ["MEMBER", "Coupling", "CouplingOptions"]


@dataclass(frozen=True)
class CouplingOptions(Options):
    """Where Jacobians are taken, and how much of them is compared.

    Attributes:
        rows: At most so many rows of the data.
        positions: Positions of each row.
        top: Singular vectors that are compared.
    """

    rows: int = option(
        "At most so many rows of the data (images, windows), spread evenly; 0 for all.", 8
    )
    positions: int = option("Positions of each row (pixels, tokens), spread evenly.", 2)
    top: int = option("Singular vectors that are compared.", 8)

    def check(self) -> None:
        """Refuse numbers that are too small.

        Raises:
            UsageError: Naming the option.
        """
        super().check()
        for name, least in (("rows", 0), ("positions", 1), ("top", 1)):
            if getattr(self, name) < least:
                raise UsageError(f"{name} {getattr(self, name)}; expected {least} or more")


class Coupling(Analysis[CouplingOptions]):
    """How far the top singular vectors of one block's Jacobian are those of another's.

    At a position p of a row, J_l is the Jacobian of what block l's branch adds at p by the block's
    input at p (channels x channels), J_l = U S V^T. The misalignment of blocks l and m is

        |U_m^T J_l V_m - S_l| / |S_l|    (Frobenius norms)

    with the K = ``top`` first columns of U_m and V_m, and the K largest singular values S_l: 0
    where the first vectors of m are those of l, about 1 where they have nothing in common. Source:
    Aubry, Meng, Sugolov and Papyan 2024 (2407.07810), section 3.

    Different from the paper: blocks are those of the decomposition, so that attention and MLP are
    blocks of their own; all blocks of a stage of equal shape are compared, also in networks for
    images, where a position is a pixel.
    """

    name = "coupling"
    summary = "Whether blocks act along the same directions (singular vectors of Jacobians)."
    source = "Aubry et al. 2024 (2407.07810)"
    options = CouplingOptions
    label = ("block", "other")
    shown = ("block", "name", "other", "other_name", "misalignment", "low", "high", "largest")
    heat_map = HeatMap(
        "other", "block", "misalignment",
        ("Block whose vectors are taken", "Block", "Misalignment"),
        diagonal=False, low=0.0,
    )  # fmt: skip

    def check(self, net: Decomposition, options: CouplingOptions) -> None:
        """Refuse a network in which no two blocks add to one stream.

        Raises:
            UsageError: Saying why.
        """
        from ensembles.analyses.coupling_tables import comparable  # noqa: PLC0415

        if len(comparable(net)) < 2:
            raise UsageError(
                f"coupling: fewer than two blocks of {net.model_name} add to a stream by an "
                "identity shortcut, so that none can be compared; choose a residual network"
            )

    def measure(
        self, net: Decomposition, data: Any, options: CouplingOptions, run: Run
    ) -> pd.DataFrame:
        """One row for each ordered pair of blocks of equal shape whose shortcut is the identity.

        Returns:
            ``block`` l and ``other`` m with their names, and ``distance`` m - l; ``misalignment``,
            its mean over rows and positions, with ``low`` and ``high`` (over rows, a jackknife over
            32 parts); ``largest``, the mean of the largest singular value of J_l. NaN where a
            Jacobian is zero or not finite. A block with itself has misalignment 0.

        Raises:
            UsageError: If a value has no positions with channels.
            EnsemblesError: As the data or the network raise it.
        """
        from ensembles.analyses.coupling_tables import coupling_frame  # noqa: PLC0415

        return coupling_frame(net, data, options, run)

    def notes(self, frame: pd.DataFrame) -> list[str]:
        """The medians of neighbours and of the pairs that are farthest apart."""
        others = frame[frame["distance"] != 0]
        lines = ["misalignment: 0 for the same singular vectors, about 1 for unrelated ones"]
        apart = others["distance"].abs()
        for distance in sorted({int(apart.min()), int(apart.max())}) if len(others) else ():
            values = others.loc[apart == distance, "misalignment"]
            lines.append(f"median misalignment of blocks {distance} apart: {values.median():.3f}")
        return lines


MEMBER = Coupling()
