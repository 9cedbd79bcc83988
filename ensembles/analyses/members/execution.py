"""Spans of blocks run in other ways: skipped, in reverse, in random order, side by side."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ensembles.analyses.base import Analysis, Options, Run, option
from ensembles.errors import UsageError

if TYPE_CHECKING:
    from typing import Any

    import pandas as pd

    from ensembles.decomposition import Decomposition

__all__ = ["MEMBER", "Execution", "ExecutionOptions"]


@dataclass(frozen=True)
class ExecutionOptions(Options):
    """Which spans are run otherwise.

    Attributes:
        lengths: Lengths of the spans, as numbers between commas.
        rows: At most so many rows of the data.
        orders: Random orders of each span.
        loops: How often the blocks run side by side in the looped variant.
        scan: Whether every span is also run twice.
        seed: Seed of the random orders.
    """

    lengths: str = option("Lengths of the spans, numbers between commas.", "2,4,8,16")
    rows: int = option(
        "At most so many rows of the data (images, windows), spread evenly; 0 for all.", 64
    )
    orders: int = option("Random orders of each span.", 1)
    loops: int = option("How often the blocks of a span run side by side, looped.", 3)
    scan: bool = option("Run every span twice too, as a map over both of its ends.", False)
    seed: int = option("Seed of the random orders.", 0)

    @property
    def sizes(self) -> tuple[int, ...]:
        """The lengths, each once, in order."""
        return tuple(sorted({int(one) for one in self.lengths.split(",")}))

    def check(self) -> None:
        """Refuse lengths that are no numbers from 2, and numbers too small.

        Raises:
            UsageError: Naming the option.
        """
        super().check()
        words = [word.strip() for word in self.lengths.split(",")]
        if not all(word.isascii() and word.isdigit() and int(word[:9]) >= 2 for word in words):
            raise UsageError(f"lengths '{self.lengths}'; expected numbers from 2, such as 2,4,8")
        for name, least in (("rows", 0), ("orders", 1), ("loops", 2)):
            if getattr(self, name) < least:
                raise UsageError(f"{name} {getattr(self, name)}; expected {least} or more")


class Execution(Analysis[ExecutionOptions]):
    """Every span of some lengths within a stage of equal shape, run in other ways.

    ``skip`` deletes the branches of the span; ``middle`` runs the block in its middle in place of
    all; ``reverse`` and ``shuffle`` change the order; ``parallel`` lets all read the same input and
    averages their branches, ``looped`` does so several times. ``swap`` exchanges two neighbours, at
    every position. With a scan, ``twice`` runs the whole span a second time (layers 0 to j - 1,
    then i to n - 1), for every span. Sources: Sun et al. 2024, "Transformer Layers as Painters"
    (2407.09298), section 3; Lad, Gurnee and Tegmark 2024 (2406.19384) for the swaps; the scan is
    that of repeated spans (RYS, 2026).

    Different from the paper: blocks are those of the decomposition, so that attention and MLP are
    blocks of their own, and in a convolutional network a span does not leave its stage.
    """

    name = "execution"
    summary = "Spans of blocks skipped, reversed, shuffled, run side by side or twice."
    source = "Sun et al. 2024 (2407.09298); Lad et al. 2024 (2406.19384)"
    options = ExecutionOptions
    label = ("variant", "first", "last")
    shown = (
        "variant", "first", "last", "length", "seed", "error", "error_low", "error_high",
        "loss_rise", "loss_rise_low", "loss_rise_high", "kl", "agreement",
    )  # fmt: skip
    figure = "ensembles.plots.execution:plot_execution"

    def check(self, net: Decomposition, options: ExecutionOptions) -> None:
        """Refuse a network without two neighbours of equal shape.

        Raises:
            UsageError: Saying so.
        """
        from ensembles.analyses.execution_tables import neighbours  # noqa: PLC0415

        if not neighbours(net):
            raise UsageError(
                f"execution: no two neighbours of {net.model_name} can change places (equal "
                "shapes, no transitions); choose a network with longer stages"
            )

    def measure(
        self, net: Decomposition, data: Any, options: ExecutionOptions, run: Run
    ) -> pd.DataFrame:
        """One row for each variant of a span.

        Returns:
            ``variant``, ``first``, ``last`` and ``length`` of the span, ``seed`` of a random
            order; ``error`` with ``error_low`` and ``error_high`` (Wilson's interval over
            observations), ``loss_rise`` (the loss less the intact one, nats) with
            ``loss_rise_low`` and ``loss_rise_high`` (paired over rows, a jackknife over 32 parts),
            ``kl`` and ``agreement``.

        Raises:
            EnsemblesError: As :func:`ensembles.lesion` raises it.
        """
        from ensembles.analyses.execution_tables import execution_frame  # noqa: PLC0415

        return execution_frame(net, data, options, run)

    def views(self, frame: pd.DataFrame) -> dict[str, pd.DataFrame]:
        """Medians over spans of each variant, by length."""
        groups = frame.groupby(["variant", "length"], sort=False)
        table = groups[["loss_rise", "error", "kl"]].median()
        table.insert(0, "spans", groups.size())
        return {"Medians over spans": table.reset_index()}

    def notes(self, frame: pd.DataFrame) -> list[str]:
        """Which variant of the longest spans costs least and most, by the median rise of loss."""
        spans = frame[~frame["variant"].isin(["swap", "twice"])]
        if spans.empty:
            return []
        longest = spans[spans["length"] == spans["length"].max()]
        medians = longest.groupby("variant")["loss_rise"].median().dropna().sort_values()
        if len(medians) < 2:
            return []
        told = ", ".join(f"{name} {value:.3g}" for name, value in medians.items())
        return [f"median rise of the loss over spans of {longest['length'].iloc[0]} (nats): {told}"]


MEMBER = Execution()
