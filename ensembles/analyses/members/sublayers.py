"""Attention and MLPs removed, one by one and in turn."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ensembles.analyses.base import Analysis, Options, Run, option
from ensembles.errors import UsageError

if TYPE_CHECKING:
    from typing import Any

    import pandas as pd

    from ensembles.decomposition import Decomposition

__all__ = ["MEMBER", "Sublayers", "SublayersOptions"]

_HALF = 0.5
_SAID = {
    "attention": "of all attention", "mlp": "of all MLPs", "both": "of all layers",
    "either": "of attention and MLPs",
}  # fmt: skip


@dataclass(frozen=True)
class SublayersOptions(Options):
    """In which order sublayers are removed, and how many.

    Attributes:
        rows: At most so many rows of the data.
        order: What chooses the next one.
        until: Share of a kind up to which it is removed.
    """

    rows: int = option(
        "At most so many rows of the data (images, windows), spread evenly; 0 for all.", 64
    )
    order: str = option(
        "What chooses the next one: influence (once, the least 1 - cosine of input and output); "
        "loss (at each step, the least loss without it); both, side by side.",
        "both", choices=("both", "influence", "loss"),
    )  # fmt: skip
    until: float = option("Share of a kind up to which it is removed.", 1.0)

    def check(self) -> None:
        """Refuse negative numbers, and a share that is none.

        Raises:
            UsageError: Naming the option.
        """
        super().check()
        if self.rows < 0:
            raise UsageError(f"rows {self.rows}; expected 0 or more")
        if not 0 < self.until <= 1:
            raise UsageError(f"until {self.until}; expected a share above 0, at most 1")


class Sublayers(Analysis[SublayersOptions]):
    """Attention, the MLP, or both removed from each layer by itself, and from more and more layers.

    Removed in turn are the attention of all layers, their MLPs, both of a layer at once, and
    either: of all attention and MLPs whichever comes next. What comes next is chosen once, by the
    influence 1 - E cos(x, y) of the intact sublayer's input and output, the least first (one-shot
    dropping of He et al. 2024, 2406.15786, sections 3.2 to 3.4), or at each step by measurement:
    that without which the loss is least. A choice among measurements fits the rows it is made on,
    so that it is made on one half of them and the curve is measured on the other half.

    Different from the paper: the loss and the error of the network's own task stand for benchmarks;
    the measured order is not in it.
    """

    name = "sublayers"
    summary = "What removing attention, MLPs or whole layers costs, one by one and in turn."
    source = "He et al. 2024 (2406.15786)"
    options = SublayersOptions
    label = ("removed", "order", "step", "layer")
    shown = (
        "removed", "order", "step", "share", "layer", "name", "loss_rise", "loss_rise_low",
        "loss_rise_high", "error", "influence",
    )  # fmt: skip
    figure = "ensembles.plots.sublayers:plot_sublayers"

    def check(self, net: Decomposition, options: SublayersOptions) -> None:
        """Refuse a network without attention, or without MLPs.

        Raises:
            UsageError: Saying what it lacks.
        """
        from ensembles.decomposition.sublayers import sublayers_of  # noqa: PLC0415 (torch)

        kinds = {one.kind for one in sublayers_of(net)}
        lacks = {"attention": "blocks of attention", "mlp": "MLPs that work position by position"}
        missing = [what for kind, what in lacks.items() if kind not in kinds]
        if missing:
            raise UsageError(
                f"sublayers: {net.model_name} has no {' and no '.join(missing)} with a shortcut; "
                "it has a meaning for transformers, whose layers have both"
            )

    def measure(
        self, net: Decomposition, data: Any, options: SublayersOptions, run: Run
    ) -> pd.DataFrame:
        """One row for each removal.

        Returns:
            ``removed`` (attention, mlp, both, either); ``order``: "alone" for a sublayer, or both
            of a layer, removed by itself, on all rows; "influence" and "loss" for those removed one
            after the other, on the half of the rows that the order was not chosen on; ``step``, how
            many are gone, and ``share``, of how many; ``layer`` and ``name`` of the one that this
            step removes; ``influence`` of that one; ``loss``; ``loss_rise`` over the intact network
            on the same rows, ``error``, and ``kl``, each with ``_low`` and ``_high`` (over rows, a
            jackknife over the parts of the data).

        Raises:
            DataError: If there are fewer than two rows, so that they have no halves.
            EnsemblesError: As :func:`ensembles.lesion` raises it.
        """
        from ensembles.analyses.sublayer_tables import sublayer_frame  # noqa: PLC0415

        return sublayer_frame(net, data, options, run)

    def notes(self, frame: pd.DataFrame) -> list[str]:
        """What it costs when half of a kind is gone."""
        lines = []
        curves = frame[(frame["order"] != "alone") & (frame["share"] <= _HALF)]
        curves = curves[curves["step"] > 0]
        for (removed, order), rows in curves.groupby(["removed", "order"], sort=False):
            last = rows.iloc[-1]
            lines.append(
                f"without {last['share']:.0%} {_SAID[str(removed)]}, by {order}, the loss rises by "
                f"{last['loss_rise']:.3g} nats ({last['loss_rise_low']:.3g} to "
                f"{last['loss_rise_high']:.3g})"
            )
        return lines


MEMBER = Sublayers()
