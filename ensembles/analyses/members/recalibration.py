"""How much of the damage of lesions is only wrong BatchNorm statistics."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ensembles.analyses.base import Analysis, Options, Run, option
from ensembles.errors import UsageError
from ensembles.lesions import Choice, Structure

if TYPE_CHECKING:
    from typing import Any

    import pandas as pd

    from ensembles.decomposition import Decomposition
    from ensembles.lesions.needs import Need

__all__ = ["MEMBER", "Recalibration", "RecalibrationOptions"]


@dataclass(frozen=True)
class RecalibrationOptions(Options):
    """How statistics are measured anew.

    Attributes:
        kind: The kind of lesion of every block.
        rows: At most so many rows of the data.
        batches: Batches of the reference data, the training split by default.
        size: Observations in each.
    """

    kind: str = option("The kind of lesion, of every block by itself.", "delete")
    rows: int = option(
        "At most so many rows of the data (images, windows), spread evenly; 0 for all.", 128
    )
    batches: int = option("Batches of the training split that statistics are measured on.", 1)
    size: int = option("Observations in each of these batches.", 128)

    def check(self) -> None:
        """Refuse numbers below 1.

        Raises:
            UsageError: Naming the option.
        """
        super().check()
        for name, least in (("rows", 0), ("batches", 1), ("size", 1)):
            if getattr(self, name) < least:
                raise UsageError(f"{name} {getattr(self, name)}; expected {least} or more")


class Recalibration(Analysis[RecalibrationOptions]):
    """Every block lesioned with trained and with recalibrated BatchNorm statistics, paired.

    With e the error (or the loss), ' a lesioned network and ~ statistics measured anew under the
    same lesion, the share of the damage that is only wrong statistics is

        (e' - e'~) / (e' - e)

    for a block, and the same of the sums over all blocks. It is 0 where new statistics help
    nothing, 1 where they repair all, negative where they harm. What they do to the intact network
    (e~ - e) stands beside it, as a control: it is what the smaller reference data cost. Intervals
    are paired over rows of the data (a jackknife over 32 parts). In a network without BatchNorm
    nothing changes, exactly.
    """

    name = "recalibration"
    summary = "How much of the damage of deletions is only wrong BatchNorm statistics."
    source = "recalibration: pruning practice; asked here of Veit et al. 2016 (1605.06431), fig. 3"
    options = RecalibrationOptions
    label = ("block", "name")
    shown = (
        "block", "name", "error", "error_recalibrated", "error_gain", "error_gain_low",
        "error_gain_high", "loss_rise", "loss_share", "loss_share_low", "loss_share_high", "reason",
    )  # fmt: skip
    figure = "ensembles.plots.recalibration:plot_recalibration"

    def check(self, net: Decomposition, options: RecalibrationOptions) -> None:
        """Refuse a kind that there is not.

        Raises:
            UsageError: Naming those that there are.
        """
        from ensembles.lesions.kinds import KINDS  # noqa: PLC0415

        KINDS.get(options.kind)

    def needs(self, net: Decomposition, options: RecalibrationOptions) -> tuple[Need, ...]:
        """The rows that statistics are measured on, and those that lesions of the kind take."""
        structure = Structure.of(net)
        lesions = Choice(options.kind).lesions(structure)
        renewed = [one.recalibrated(options.batches, options.size) for one in lesions]
        return tuple(dict.fromkeys(need for one in renewed for need in one.needs_on(structure)))

    def measure(
        self, net: Decomposition, data: Any, options: RecalibrationOptions, run: Run
    ) -> pd.DataFrame:
        """One row a block.

        Returns:
            ``block``, ``name``, ``kind`` of the block; ``error`` and ``error_recalibrated`` of the
            lesioned network, shares; ``error_gain``, the first less the second; ``loss_rise``, the
            loss less the intact network's in nats, ``loss_rise_recalibrated`` and ``loss_gain``;
            ``error_share`` and ``loss_share``, what share of the rise the gain is; each gain and
            share with ``_low`` and ``_high``. ``attrs["shares"]`` holds the shares of the sums over
            all blocks, ``attrs["intact"]`` what recalibration does to the intact network.

        Raises:
            LesionError: If the kind has no meaning on the network, or there is no reference data.
            EnsemblesError: As :func:`ensembles.lesion` raises it.
        """
        from ensembles.analyses.recalibration_tables import recalibration_frame  # noqa: PLC0415

        return recalibration_frame(net, data, options, run)

    def views(self, frame: pd.DataFrame) -> dict[str, pd.DataFrame]:
        """What share of all damage is wrong statistics, and what the control shows."""
        import pandas as pd  # noqa: PLC0415

        return {
            "Of all damage, what recalibration takes away": pd.DataFrame(
                frame.attrs.get("shares", [])
            ),
            "The intact network, recalibrated": pd.DataFrame(frame.attrs.get("intact", [])),
        }

    def notes(self, frame: pd.DataFrame) -> list[str]:
        """The share of the damage over all blocks, in error and in loss."""
        if frame.attrs.get("batch_norms") == 0:
            return ["the network has no BatchNorm: recalibration changes nothing"]
        lines = []
        for row in frame.attrs.get("shares", []):
            if row["share"] is None:
                continue
            interval = "" if row["low"] is None else f" ({row['low']:.0%} to {row['high']:.0%})"
            lines.append(
                f"of the {row['of']} over all blocks, {row['share']:.0%}{interval} is only "
                "wrong BatchNorm statistics"
            )
        return lines


MEMBER = Recalibration()
