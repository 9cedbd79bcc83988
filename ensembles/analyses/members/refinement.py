"""Whether blocks refine one estimate: how near it is, and whether each step goes down the loss."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ensembles.analyses.base import Analysis, Options, Run, option
from ensembles.errors import UsageError
from ensembles.lesions.needs import Reference

if TYPE_CHECKING:
    from typing import Any

    import pandas as pd

    from ensembles.decomposition import Decomposition
    from ensembles.lesions.needs import Need

__all__ = ["MEMBER", "Refinement", "RefinementOptions"]


@dataclass(frozen=True)
class RefinementOptions(Options):
    """How refinement is measured.

    Attributes:
        rows: At most so many rows of the data.
        train: Rows of the training split that heads are fitted on.
    """

    rows: int = option(
        "At most so many rows of the data (images, windows), spread evenly; 0 for all.", 128
    )
    train: int = option(
        "Rows of the training split that a head is fitted on after each block; 0 for none.", 512
    )

    def check(self) -> None:
        """Refuse negative numbers.

        Raises:
            UsageError: Naming the option.
        """
        super().check()
        for name in ("rows", "train"):
            if getattr(self, name) < 0:
                raise UsageError(f"{name} {getattr(self, name)}; expected 0 or more")


class Refinement(Analysis[RefinementOptions]):
    """Whether the blocks of a stage refine one estimate, and each step lowers the loss.

    Estimation error: with x_l the output of block l and x_L that of the last block of its stage,
    mean and standard deviation of x_l - x_L (Greff, Srivastava and Schmidhuber 2017, 1612.07771,
    equation 1 and figure 3). Steps: with d_l what block l adds to the stream, the cosine of d_l
    with minus the gradient of the loss by the block's input; the change of the loss of the network
    cut short when block l is added to it; and what the first order says of that change, d_l times
    the gradient (Jastrzebski et al. 2018, 1710.04773, section 3). Depth: loss and accuracy of the
    network cut short (the logit lens of `depth`), and of a head fitted on the training split.

    Different from the papers: errors are in units of the root mean square of x_L, so that stages
    and networks can be compared; a stage begins at a block whose shortcut is not the identity, and
    where a network adds first and rectifies then, d_l is output less what the block gives without
    its branch; the fitted head is a logistic regression on standardised features.
    """

    name = "refinement"
    summary = "Whether blocks refine one estimate, each step down the gradient of the loss."
    source = "Greff et al. 2017 (1612.07771); Jastrzebski et al. 2018 (1710.04773)"
    options = RefinementOptions
    label = ("block", "name")
    shown = (
        "block", "name", "stage", "error", "error_sd", "bias_share", "cosine", "cosine_low",
        "cosine_high", "change", "first_order", "explained", "loss", "accuracy", "fitted_accuracy",
    )  # fmt: skip
    figure = "ensembles.plots.refinement:plot_refinement"

    def check(self, net: Decomposition, options: RefinementOptions) -> None:
        """Refuse blocks that do not follow each other, or have no shortcut.

        Raises:
            UsageError: Saying why.
        """
        follows = all(getattr(block.before, "follows", True) for block in net)
        if not follows or not all(block.ordered and block.has_shortcut for block in net):
            raise UsageError(
                f"refinement: not all blocks of {net.model_name} follow each other with a "
                "shortcut, so that none refines what the one before it gave; choose a residual "
                "network"
                + (", or take it apart with nested=False (--chain)" if net.is_nested else "")
            )

    def needs(self, net: Decomposition, options: RefinementOptions) -> tuple[Need, ...]:
        """The rows that heads are fitted on; none where there is but one head."""
        return (Reference(options.train),) if options.train and len(net.output_shape) == 1 else ()

    def measure(
        self, net: Decomposition, data: Any, options: RefinementOptions, run: Run
    ) -> pd.DataFrame:
        """One row for block 0 (the stem alone) and each block.

        Returns:
            ``block``, ``name``, ``stage``; ``error``, the mean of x_l - x_L over rows and features
            in units of the root mean square of x_L, ``error_sd``, its standard deviation, and
            ``bias_share``, the share of its mean square that is the same for all rows (0 where each
            feature is right on average); ``cosine`` of d_l with minus the gradient of the loss by
            the block's input (for a block whose shortcut is not the identity, by its output), and
            ``lens_cosine``, the same for the loss of the network cut short; ``change`` of the loss
            of the network cut short by adding the block, ``first_order``, what the gradient says of
            it, and ``explained``, 1 - (squared misses) / (squared changes) over rows; ``loss`` and
            ``accuracy`` of the network cut short after the block; ``fitted_loss`` and
            ``fitted_accuracy`` of the head fitted there. Each with ``_low`` and ``_high`` (over
            rows, a jackknife over 32 parts). Losses are in nats. ``attrs["steps"]`` sums changes
            up, ``attrs["fitted"]`` says on what heads were fitted, or why on nothing.

        Raises:
            EnsemblesError: As the data or the network raise it.
        """
        from ensembles.analyses.refinement_tables import refinement_frame  # noqa: PLC0415

        return refinement_frame(net, data, options, run)

    def views(self, frame: pd.DataFrame) -> dict[str, pd.DataFrame]:
        """How much of the change of the loss the first order explains, by stage and in all."""
        import pandas as pd  # noqa: PLC0415

        rows = pd.DataFrame(frame.attrs.get("steps", []))
        numbers = [name for name in rows.columns if name != "stage"]
        return {
            "Change of the loss by adding block after block, and its first order (nats)": (
                rows.astype(dict.fromkeys(numbers, float))
            )
        }

    def notes(self, frame: pd.DataFrame) -> list[str]:
        """How many blocks go down the gradient, what the first order explains, and on what."""
        cosine = frame["cosine_low"].dropna()
        lines = [
            f"{int((cosine > 0).sum())} of {len(cosine)} blocks add along minus the gradient of "
            "the loss (interval above 0)"
        ]
        whole = next((row for row in frame.attrs.get("steps", []) if row["stage"] == "all"), None)
        if whole is not None and whole["share"] is not None:
            lines.append(
                f"first order: {whole['first_order']:.3g} nats of a change of "
                f"{whole['change']:.3g} from the stem's loss to the network's"
            )
        if frame.attrs.get("fitted"):
            lines.append(f"heads after each block: {frame.attrs['fitted']}")
        return lines


MEMBER = Refinement()
