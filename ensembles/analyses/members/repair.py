"""What blocks do to the right logit by themselves, and what is left of it when they are deleted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ensembles.analyses.base import Analysis, Options, Run, option
from ensembles.errors import UsageError

if TYPE_CHECKING:
    from typing import Any

    import pandas as pd

    from ensembles.decomposition import Decomposition

__all__ = ["MEMBER", "Repair", "RepairOptions"]


@dataclass(frozen=True)
class RepairOptions(Options):
    """On how much repair is measured.

    Attributes:
        rows: At most so many rows of the data.
    """

    rows: int = option(
        "At most so many rows of the data (images, windows), spread evenly; 0 for all.", 64
    )

    def check(self) -> None:
        """Refuse negative numbers.

        Raises:
            UsageError: Naming the option.
        """
        super().check()
        if self.rows < 0:
            raise UsageError(f"rows {self.rows}; expected 0 or more")


class Repair(Analysis[RepairOptions]):
    """Self-repair: 1 - total / direct, of the effect of each block on the right logit.

    With z the logit of the right answer less the mean of all logits, averaged over observations:
    the direct effect of block l is z of the intact network less z of the network in which f_l is
    missing and every later branch adds what it adds in the intact network, so that f_l reaches the
    output through later shortcuts alone; the scales of norms on that way (LayerNorm, RMSNorm,
    GroupNorm of the head, and behind additions) are held at those of the intact network. The total
    effect is z of the intact network less z without block l. They differ by what later branches add
    otherwise, and by what norms do: repair = 1 - total / direct is 0 where nothing responds, 1
    where all is made good, negative where later blocks lose by the deletion too.

    Sources: McGrath et al. 2023 (2307.15771), section 2, who compare both effects layer by layer;
    Rushing and Nanda 2024 (2402.15390), sections 2 and 4, who hold the final norm's scale and find
    it to do a part of the repair. Different from them: the right answer stands for the likeliest
    one, deletion for resampling from other texts, blocks for heads, the ratio of means over all
    observations for the mean over those with the largest direct effects.
    """

    name = "repair"
    summary = "How much of what a block adds to the right logit later blocks compensate."
    source = "McGrath et al. 2023 (2307.15771); Rushing and Nanda 2024 (2402.15390)"
    options = RepairOptions
    label = ("block", "name")
    shown = (
        "block", "name", "direct", "direct_low", "direct_high", "total", "total_low", "total_high",
        "repair", "repair_low", "repair_high",
    )  # fmt: skip
    figure = "ensembles.plots.repair:plot_repair"

    def check(self, net: Decomposition, options: RepairOptions) -> None:
        """Refuse blocks that do not follow each other, lie in each other, or have no shortcut.

        Raises:
            UsageError: Saying why.
        """
        if not all(block.ordered for block in net):
            raise UsageError(
                f"repair: the blocks of {net.model_name} stand side by side, so that none can make "
                "good what another one lost; choose a network whose blocks follow each other"
            )
        if not any(block.has_shortcut for block in net):
            raise UsageError(
                f"repair: no block of {net.model_name} has a shortcut, so that none has a direct "
                "effect; choose a network with residual blocks"
            )
        if any(block.holds for block in net):
            raise UsageError(
                f"repair: blocks of {net.model_name} lie within the branches of others, so that "
                "they have no way of their own to the output; decompose with nested=False"
            )

    def measure(
        self, net: Decomposition, data: Any, options: RepairOptions, run: Run
    ) -> pd.DataFrame:
        """One row for each block with a shortcut.

        Returns:
            ``block``, ``name``; ``direct`` and ``total``, the effects on the centred logit of the
            right answer; ``repair``, 1 - total / direct, and its two parts: ``by_blocks``, through
            what later branches add otherwise, and ``by_norm``, through the scales of norms on the
            way (0 where there are none); each with ``_low`` and ``_high`` (over rows, a jackknife
            over 32 parts). Shares are there only where the interval of the direct effect is without
            0, else ``reason`` says why not. ``attrs["ranks"]`` holds Spearman's correlation of both
            effects over blocks, ``attrs["norm_held"]`` whether there are norms to hold.

        Raises:
            LesionError: If no block can be deleted.
            EnsemblesError: As :func:`ensembles.lesion` raises it.
        """
        from ensembles.analyses.repair_tables import repair_frame  # noqa: PLC0415

        return repair_frame(net, data, options, run)

    def notes(self, frame: pd.DataFrame) -> list[str]:
        """The usual repair, and how both effects go together."""
        shares = frame["repair"].dropna()
        lines = [
            f"{len(shares)} of {len(frame)} blocks have a direct effect that is not 0"
            + (f"; median repair {shares.median():.2f}" if len(shares) else "")
        ]
        ranks = frame.attrs.get("ranks", {})
        if ranks.get("value") is not None:
            ends = [ranks[end] for end in ("low", "high")]
            told = "" if None in ends else f" ({ends[0]:.2f} to {ends[1]:.2f})"
            lines.append(f"direct and total effect: Spearman {ranks['value']:.2f}{told}")
        return lines


MEMBER = Repair()
