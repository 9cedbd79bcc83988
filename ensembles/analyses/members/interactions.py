"""How the damage of joint deletions is made up of the damage of single ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ensembles.analyses.base import Analysis, HeatMap, Options, Run, option
from ensembles.errors import UsageError

if TYPE_CHECKING:
    from typing import Any

    import pandas as pd

    from ensembles.decomposition import Decomposition

__all__ = ["MEMBER", "Interactions", "InteractionsOptions"]


@dataclass(frozen=True)
class InteractionsOptions(Options):
    """Which sets of blocks are deleted.

    Attributes:
        rows: At most so many rows of the data.
        pairs: Whether every pair of blocks is deleted.
        permutations: Random orders for Shapley values, in pairs of an order and its reverse.
        sets: Random sets, for the additive model and the energy by order.
        share: Probability with which each block is in such a set.
        seed: Seed of the orders and sets.
    """

    rows: int = option(
        "At most so many rows of the data (images, windows), spread evenly; 0 for all.", 32
    )
    pairs: bool = option("Delete every pair of blocks, for the matrix.", True)
    permutations: int = option(
        "Random orders for Shapley values, an even number: each with its reverse.", 8
    )
    sets: int = option("Random sets, for the additive model and the energy by order.", 200)
    share: float = option("Probability with which each block is in such a set.", 0.1)
    seed: int = option("Seed of the orders and sets.", 0)

    def check(self) -> None:
        """Refuse an odd number of orders, a probability that is none, and too few sets.

        Raises:
            UsageError: Naming the option.
        """
        super().check()
        if self.rows < 0:
            raise UsageError(f"rows {self.rows}; expected 0 or more")
        if self.permutations < 2 or self.permutations % 2:
            raise UsageError(
                f"permutations {self.permutations}; expected an even number, 2 or more, since each "
                "order comes with its reverse"
            )
        if self.sets < 8:
            raise UsageError(f"sets {self.sets}; expected 8 or more")
        if not 0 < self.share < 1:
            raise UsageError(f"share {self.share}; expected a number between 0 and 1")


class Interactions(Analysis[InteractionsOptions]):
    """v(S), the loss with the set S of blocks deleted, taken apart.

    The interaction of two blocks is I_ij = v(ij) - v(i) - v(j) + v(0): 0 where damage adds up,
    positive where both together cost more than their sum, as blocks that stand in for each other
    do. A Shapley value is a block's mean share of the rise v(all) - v(0), over all orders of
    deletion: exact for up to 12 blocks, else over random orders, each with its reverse. The
    additive model says v(0) + sum of v(i) - v(0) over the set. The energy by order is that of the
    functions of Fourier and Walsh for sets in which each block is with a given probability: the
    share of the variance of v over such sets that single blocks explain, then pairs, and so on;
    exact for up to 12 blocks, else order 1 (both halves of the sets estimate its coefficients, and
    products of the two estimates have no bias) and the rest.

    The loss is taken, not the error, which saturates. Sources: Zhang et al. 2024 (2409.14381);
    2602.07804; Castro, Gomez and Tejada 2009 for the random orders; O'Donnell 2014, chapter 8, for
    the functions.
    """

    name = "interactions"
    summary = "Whether the damage of joint deletions is the sum of that of single ones."
    source = "Shapley values: 2409.14381; interactions of blocks: 2602.07804"
    options = InteractionsOptions
    label = ("block", "other")
    shown = ("block", "other", "interaction", "low", "high", "joint_rise", "sum_of_rises")
    heat_map = HeatMap(
        "block", "other", "interaction",
        ("Block", "Other block", "Interaction (nats)"),
        diagonal=False,
    )  # fmt: skip

    def measure(
        self, net: Decomposition, data: Any, options: InteractionsOptions, run: Run
    ) -> pd.DataFrame:
        """One row a pair of blocks.

        Returns:
            ``block`` and ``other`` with ``name`` and ``other_name``; ``interaction`` I_ij in nats
            with ``low`` and ``high`` (over rows, a jackknife over 32 parts), ``joint_rise``
            v(ij) - v(0), and ``sum_of_rises``. Without pairs, one row a block and itself, with the
            rise of its deletion twice. ``attrs["shapley"]`` holds each block's value with its
            standard error over orders (0 where exact) and the rise of its deletion;
            ``attrs["additive"]`` the additive model's fit by size of the set;
            ``attrs["energy"]`` the energy by order.

        Raises:
            LesionError: If fewer than two blocks can be deleted.
            EnsemblesError: As :func:`ensembles.lesion` raises it.
        """
        from ensembles.analyses.interaction_tables import interaction_frame  # noqa: PLC0415

        return interaction_frame(net, data, options, run)

    def views(self, frame: pd.DataFrame) -> dict[str, pd.DataFrame]:
        """Shapley values, the additive model, and the energy by order."""
        import pandas as pd  # noqa: PLC0415

        return {
            "Shapley values (nats)": pd.DataFrame(frame.attrs.get("shapley", [])),
            "The additive model, by number of deleted blocks": pd.DataFrame(
                frame.attrs.get("additive", [])
            ),
            "Energy by order of interaction": pd.DataFrame(frame.attrs.get("energy", [])),
        }

    def notes(self, frame: pd.DataFrame) -> list[str]:
        """How well sums predict joint damage, in ranks and in size."""
        lines = []
        whole = [row for row in frame.attrs.get("additive", []) if row["blocks"] == "all"]
        for row in whole:
            if row["spearman"] is None:
                continue
            interval = "" if row["low"] is None else f" ({row['low']:.2f} to {row['high']:.2f})"
            lines.append(
                f"ranks of joint damage: Spearman {row['spearman']:.2f}{interval} with the sum of "
                f"single damage over {row['sets']} sets; its size: {row['measured']:.3g} nats "
                f"measured, {row['predicted']:.3g} by the sum"
            )
        first = [row for row in frame.attrs.get("energy", []) if row["order"] == "1"]
        lines += [
            f"single blocks explain {row['share']:.0%} of the variance of the loss over such sets"
            for row in first
            if row["share"] is not None
        ]
        return lines


MEMBER = Interactions()
