"""How much rests on the trained weights of each block."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from ensembles.analyses.base import Analysis, Options, Run, option
from ensembles.errors import UsageError
from ensembles.lesions import Intact, Structure

if TYPE_CHECKING:
    from typing import Any

    import pandas as pd

    from ensembles.decomposition import Decomposition
    from ensembles.lesions.needs import Need

__all__ = ["MEMBER", "Criticality", "CriticalityOptions"]


@dataclass(frozen=True)
class CriticalityOptions(Options):
    """How blocks are robbed of their weights.

    Attributes:
        trials: Seeds of fresh weights for each block.
        rows: At most so many rows of the data.
        recalibrated: Whether BatchNorm statistics are measured anew on so many batches of 128; 0
            for not.
        seed: The first of the seeds.
        batch: Rows in each batch that statistics are measured anew on.
    """

    batch: ClassVar[int] = 128

    trials: int = option("Seeds of fresh weights for each block.", 3)
    rows: int = option(
        "At most so many rows of the data (images, windows), spread evenly; 0 for all.", 64
    )
    recalibrated: int = option(
        "Measure BatchNorm statistics anew on so many batches of 128; 0 for not at all.", 0
    )
    seed: int = option("The first of the seeds.", 0)

    def check(self) -> None:
        """Refuse numbers that are too small.

        Raises:
            UsageError: Naming the option.
        """
        super().check()
        for name, least in (("trials", 1), ("rows", 0), ("recalibrated", 0)):
            if getattr(self, name) < least:
                raise UsageError(f"{name} {getattr(self, name)}; expected {least} or more")


class Criticality(Analysis[CriticalityOptions]):
    """Each block with its weights as before training, fresh, permuted, or deleted.

    ``reset`` gives a branch the weights that it had before training (where the initial network is
    given), ``init`` fresh ones of its modules' own initialisation, ``permute`` the trained weights
    of each tensor in random order, ``zero`` deletes the branch. The criticality of a block is what
    is left: ``recovered``, accuracy over that of the intact network, and ``cosine``, the mean
    cosine of the softmax outputs of both. Sources: Zhang, Bengio and Singer 2022 (JMLR 23, "Are all
    layers created equal?"), sections 3 and 4, for reset and fresh weights; Gavrikov et al. 2024
    (2410.14470) for the cosine.

    Different from both: blocks are those of the decomposition, where the papers take single
    layers; and BatchNorm keeps its trained statistics unless asked otherwise, as in Zhang et al.
    """

    name = "criticality"
    summary = "What is left where a block loses its trained weights."
    source = "Zhang et al. 2022 (JMLR 23); Gavrikov et al. 2024 (2410.14470)"
    options = CriticalityOptions
    label = ("block", "name", "variant")
    shown = (
        "block", "name", "variant", "trials", "recovered", "recovered_low", "recovered_high",
        "cosine", "loss_rise",
    )  # fmt: skip
    figure = "ensembles.plots.criticality:plot_criticality"

    def needs(self, net: Decomposition, options: CriticalityOptions) -> tuple[Need, ...]:
        """The rows that BatchNorm statistics are measured anew on."""
        if not options.recalibrated:
            return ()
        return (
            Intact().recalibrated(options.recalibrated, options.batch).needs_on(Structure.of(net))
        )

    def measure(
        self, net: Decomposition, data: Any, options: CriticalityOptions, run: Run
    ) -> pd.DataFrame:
        """One row for each block and variant.

        Returns:
            ``block``, ``name``, ``variant``; ``trials``, over how many seeds the row is a mean;
            ``accuracy``; ``recovered``, the accuracy over the intact network's, with
            ``recovered_low`` and ``recovered_high`` (paired over rows, a jackknife over 32 parts);
            ``recovered_least`` and ``recovered_most`` over seeds; ``cosine`` and ``loss_rise``
            (nats), means over seeds.

        Raises:
            EnsemblesError: As :func:`ensembles.lesion` raises it.
        """
        from ensembles.analyses.criticality_tables import criticality_frame  # noqa: PLC0415

        return criticality_frame(net, data, options, run)

    def notes(self, frame: pd.DataFrame) -> list[str]:
        """How many blocks are critical: less than half of the accuracy is left."""
        lines = []
        for variant, rows in frame.groupby("variant", sort=False):
            left = rows["recovered"].dropna()
            if len(left):
                lines.append(
                    f"{variant}: {int((left < 0.5).sum())} of {len(left)} blocks leave less than "
                    f"half of the accuracy (median {left.median():.2f} of it)"
                )
        return lines


MEMBER = Criticality()
