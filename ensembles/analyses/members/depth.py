"""From which depth on the output hardly changes: the network cut short after every block."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ensembles.analyses.base import Analysis, Options, Run, option
from ensembles.errors import UsageError

if TYPE_CHECKING:
    from typing import Any

    import pandas as pd

    from ensembles.decomposition import Decomposition

__all__ = ["MEMBER", "Depth", "DepthOptions"]


@dataclass(frozen=True)
class DepthOptions(Options):
    """How depth is measured.

    Attributes:
        rows: At most so many rows of the data.
        images: Images for the interval of path lengths.
        cosine: Over what vectors cosines are taken.
    """

    rows: int = option(
        "At most so many rows of the data (images, windows), spread evenly; 0 for all.", 128
    )
    images: int = option("Images for the interval of path lengths beside it; 0 for none.", 4)
    cosine: str = option(
        "position: over channels at each position, then averaged; flattened: over all values of a "
        "row; last: over channels at the last position of a sequence.",
        "position", choices=("position", "flattened", "last"),
    )  # fmt: skip

    def check(self) -> None:
        """Refuse negative numbers.

        Raises:
            UsageError: Naming the option.
        """
        super().check()
        for name in ("rows", "images"):
            if getattr(self, name) < 0:
                raise UsageError(f"{name} {getattr(self, name)}; expected 0 or more")


class Depth(Analysis[DepthOptions]):
    """The answers of a network that is cut short after block l, and what each block adds.

    Cut short, all blocks after l are deleted, so that the stream goes through the later shortcuts
    to the head. Where these are identities (a transformer, the last stage of a ResNet) that is the
    head applied to the stream after block l, the logit lens (nostalgebraist 2020; Belrose et al.
    2023, 2303.08112). Beside the curves: the cosine of what each block adds with the stream, and
    the interval of path lengths. Source: Csordas, Manning and Potts 2025 (2505.13898), who read
    depth off such curves; 2512.14064.

    Different from the papers: KL(intact || cut short), which is finite wherever the logits are,
    stands for KL(cut short || intact); in earlier stages of a ResNet the lens looks through the
    later shortcuts, where others fit a classifier.
    """

    name = "depth"
    summary = "What the network answers when it is cut short after each block."
    source = "logit lens: 2303.08112; Csordas et al. 2025 (2505.13898)"
    options = DepthOptions
    label = ("block", "name")
    shown = (
        "block", "name", "kl", "kl_low", "kl_high", "overlap", "agreement", "error", "loss",
        "branch_cosine", "branch_cosine_se",
    )  # fmt: skip
    figure = "ensembles.plots.depth:plot_depth"

    def check(self, net: Decomposition, options: DepthOptions) -> None:
        """Refuse blocks that do not follow each other, or have no shortcut.

        Raises:
            UsageError: Saying why.
        """
        if not all(block.ordered and block.has_shortcut for block in net):
            raise UsageError(
                f"depth: not all blocks of {net.model_name} follow each other with a shortcut, so "
                "that it cannot be cut short after one; choose a residual network"
            )

    def measure(
        self, net: Decomposition, data: Any, options: DepthOptions, run: Run
    ) -> pd.DataFrame:
        """One row for block 0 (the stem alone) and each block.

        Returns:
            ``block``, ``name``; ``kl``, the mean of KL(intact || cut short) in nats, with
            ``kl_low`` and ``kl_high`` (over rows, a jackknife over 32 parts); ``overlap``,
            ``agreement``, ``error`` and ``loss`` of the network cut short; ``branch_cosine``, the
            mean cosine of what the block adds with the stream, and ``branch_cosine_se`` over rows.
            ``attrs["depths"]`` holds what is read off the curves.

        Raises:
            LesionError: If a block cannot be deleted.
            EnsemblesError: As :func:`ensembles.lesion` or :func:`ensembles.paths` raises it.
        """
        from ensembles.analyses.depth_tables import depth_frame  # noqa: PLC0415

        return depth_frame(net, data, options, run)

    def views(self, frame: pd.DataFrame) -> dict[str, pd.DataFrame]:
        """What is read off the curves."""
        import pandas as pd  # noqa: PLC0415

        return {"Read off the curves": pd.DataFrame(frame.attrs.get("depths", []))}

    def notes(self, frame: pd.DataFrame) -> list[str]:
        """The same, in lines."""
        return [
            f"{row['what']}: {'none' if row['block'] is None else row['block']}"
            for row in frame.attrs.get("depths", [])
        ]


MEMBER = Depth()
