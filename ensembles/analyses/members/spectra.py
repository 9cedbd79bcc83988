"""Path spectra at every place, by two lengths, by scale, and beside other linearisations."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ensembles.analyses.base import Analysis, Options, Run, option
from ensembles.analyses.cancellation import CANCELLING
from ensembles.errors import UsageError

if TYPE_CHECKING:
    from typing import Any

    import pandas as pd

    from ensembles.decomposition import Decomposition

__all__ = ["MEMBER", "Spectra", "SpectraOptions"]


@dataclass(frozen=True)
class SpectraOptions(Options):
    """What is measured, and on how much.

    Attributes:
        images: Images (windows) whose paths are followed.
        rows: At most so many rows of the data for the effects of branches.
        scales: Factors of all branches.
        cells: At most so many pairs of lengths.
    """

    images: int = option("Images, or windows of a text, whose paths are followed.", 4)
    rows: int = option(
        "At most so many rows of the data (images, windows) for what branches do, spread evenly; "
        "0 for all.",
        64,
    )
    scales: str = option(
        "Factors of all branches, with which spectrum and error are measured too, as 0.5,0.8; "
        "'none' for none.",
        "0.5,0.8",
    )
    cells: int = option(
        "At most so many pairs of lengths (attention, others) are told apart; 0 for none.", 400
    )

    def check(self) -> None:
        """Refuse numbers that have no meaning.

        Raises:
            UsageError: Naming the option.
        """
        super().check()
        for name, least in (("images", 1), ("rows", 0), ("cells", 0)):
            if getattr(self, name) < least:
                raise UsageError(f"{name} {getattr(self, name)}; expected {least} or more")
        _ = self.factors

    @property
    def factors(self) -> tuple[float, ...]:
        """The factors, as numbers.

        Raises:
            UsageError: If one is none, or not above 0.
        """
        if self.scales == "none":
            return ()
        try:
            found = tuple(float(one) for one in self.scales.split(","))
        except ValueError:
            found = (0.0,)
        if any(not 0 < one < 100 for one in found):
            raise UsageError(
                f"scales '{self.scales}'; expected numbers above 0 and below 100, as 0.5,0.8, or "
                "none"
            )
        return found


class Spectra(Analysis[SpectraOptions]):
    """How the exact spectrum of paths looks from every block, and what else it can be held against.

    At the input of every block: cancellation (the sum over lengths of the norms of the gradient
    over the norm of their sum), and the effective lengths of the later blocks (Veit et al. 2016,
    1605.06431, section 4.3, exact). With several networks, such as the checkpoints of a training,
    the figure follows the length over them (Littwin and Wolf 2016, 1611.02525: training makes it
    deeper). Branches scaled by a factor: the lengths, beside those that a binomial law with the
    measured weight of a branch gives (arXiv 2510.03470). In a transformer: paths by two lengths at
    once, attention blocks and others taken. What each branch adds to the logit of the right answer
    (less the mean over logits), in three ways: by derivatives of everything, with attention
    patterns, gates and norm scales held (DePass, 2510.18462), and by deletion.

    Different from DePass: it divides the attribution among tokens and neurons, this among blocks;
    what is held is every activation's ratio of value to argument. Different from Littwin and Wolf:
    they follow a spin glass model of the loss, this measures the network.
    """

    name = "spectra"
    summary = "Path lengths and cancellation at every block, scaled, and other linearisations."
    source = "Littwin and Wolf 2016 (1611.02525); branch scale: 2510.03470; held gates: 2510.18462"
    options = SpectraOptions
    label = ("block", "name")
    shown = (
        "block", "name", "later", "cancellation", "cancellation_low", "cancellation_high", "first",
        "last", "median", "mean", "branch_weight", "derivative", "held", "deleted",
    )  # fmt: skip
    figure = "ensembles.plots.spectra:plot_spectra"

    def check(self, net: Decomposition, options: SpectraOptions) -> None:
        """Refuse a network without shortcuts, and several tensors between blocks.

        Raises:
            PathError: Saying why.
        """
        from ensembles.analyses.members.paths import MEMBER as PATHS  # noqa: PLC0415
        from ensembles.analyses.path_options import PathOptions  # noqa: PLC0415

        PATHS.check(net, PathOptions(at="blocks"))

    def precision(self, net: Decomposition, options: SpectraOptions, asked: str | None) -> str:
        """As asked, else fp32; always fp64 for a language model, whose lengths cancel."""
        from ensembles.unravelling.token_streams import takes_tokens  # noqa: PLC0415 (torch)

        return "fp64" if takes_tokens(net) else asked or "fp32"

    def measure(
        self, net: Decomposition, data: Any, options: SpectraOptions, run: Run
    ) -> pd.DataFrame:
        """One row for each block with a shortcut.

        Returns:
            ``block``, ``name``; ``later``, blocks with a choice from here on; ``cancellation``, the
            median over images, ``first``, ``last`` and ``median`` of the shortest interval of
            lengths that holds 95 % of the norms, ``share`` of all paths in it, ``mean``, the mean
            length by the norms, and ``branch_weight``, the size of a branch over its shortcut with
            which equal branches would have this mean, mean / (later - mean): cancellation, median
            and mean with ``_low`` and ``_high`` (bootstrap over images); ``derivative``, ``held``
            and ``deleted``, what the branch adds to the logit of the right answer in three ways,
            each with ``_low`` and ``_high`` (over rows, a jackknife over 32 parts).
            ``attrs["scales"]``, ``attrs["two_lengths"]`` and ``attrs["linear"]`` hold the rest.

        Raises:
            PathError: If the network has no paths, or the lengths do not add up.
            EnsemblesError: As :func:`ensembles.lesion` or :func:`ensembles.paths` raises it.
        """
        from ensembles.analyses.spectra_tables import spectra_frame  # noqa: PLC0415

        return spectra_frame(net, data, options, run)

    def views(self, frame: pd.DataFrame) -> dict[str, pd.DataFrame]:
        """Scaled branches, two lengths at once, and how linearisations agree with deletion."""
        import pandas as pd  # noqa: PLC0415

        titles = {
            "linear": "Effects of branches: two linearisations against deletion",
            "scales": "All branches scaled",
            "two_lengths": "Paths by two lengths",
        }
        return {
            title: pd.DataFrame(frame.attrs[name])
            for name, title in titles.items()
            if frame.attrs.get(name)
        }

    def notes(self, frame: pd.DataFrame) -> list[str]:
        """Where lengths cancel, how the linearisations agree, and what was left out."""
        place = int(frame["cancellation"].fillna(-1).to_numpy(float).argmax())
        worst = frame.iloc[place]
        many = int((frame["cancellation"] >= CANCELLING).sum())
        lines = [
            f"cancellation is greatest at block {worst['block']} ({worst['cancellation']:.3g}); at "
            f"{many} of {len(frame)} blocks lengths cancel more than they add ({CANCELLING} or "
            "more)"
        ]
        for row in frame.attrs.get("linear", []):
            if row["spearman"] is not None:
                lines.append(
                    f"effects by {row['way']}: rank correlation with deletion "
                    f"{row['spearman']:.2f}, explained {row['explained']:.2f}"
                )
        return lines + [frame.attrs[k] for k in ("left_out", "not_held") if frame.attrs.get(k)]


MEMBER = Spectra()
