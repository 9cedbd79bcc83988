"""Figure 7: a network trained with stochastic depth, against one trained as usual."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd
from scipy.stats import wilcoxon

from ensembles.plots.layout import new_figure
from ensembles.plots.lesions import error_by_block
from ensembles.reproduction.criteria import alike, intact_error, labelled, points, singles, spread
from ensembles.reproduction.experiment import Experiment, Part, Parts, Picture
from ensembles.reproduction.judgements import Claim, Finding, Frames
from ensembles.reproduction.named import NotMeasured
from ensembles.reproduction.published import RESIDUAL, STOCHASTIC, facts, published_singles
from ensembles.statistics import median_interval
from ensembles.studies import Sweep

if TYPE_CHECKING:
    from ensembles.reproduction.bench import Bench

__all__ = ["StochasticDepth"]

_TRAININGS = ("ordinary", "stochastic depth")
_FEWEST = 5


class StochasticDepth(Experiment):
    """Every single block is deleted in turn, from networks of two trainings."""

    key = "stochastic-depth"
    title = "Figure 7: stochastic depth against ordinary training"
    about = (
        "Each block is deleted in turn, from a network trained with stochastic depth and from one "
        "trained as usual.",
    )

    def parts(self, bench: Bench) -> Parts:
        """See the base class."""
        parts = Parts()
        for name in _TRAININGS:
            with parts.part(name):
                network = bench.network(bench.request.model, name)
                parts[name] = Part(network, bench.images, bench.sweep(Sweep()))
        return parts

    def claims(self) -> tuple[Claim, ...]:
        """See the base class."""
        return (
            Claim(
                "Stochastic depth makes a network still more robust to deletions",
                "a one-sided Wilcoxon test of the rises of the error, block by block, gives "
                "p < 0.05",
                _published_robustness(),
                _TRAININGS,
                _more_robust,
            ),
            Claim(
                "With stochastic depth the same blocks matter in our network as in theirs",
                "the bootstrap interval over blocks of Spearman's rank correlation of our errors "
                "with theirs lies above 0",
                "1 by definition",
                ("stochastic depth",),
                _same_blocks,
            ),
        )

    def draw(self, frames: Frames) -> list[Picture]:
        """See the base class."""
        if len(frames) < len(_TRAININGS):
            return []
        theirs = [published_singles(RESIDUAL), published_singles(STOCHASTIC)]
        figure, [ax] = new_figure(height=3.2)
        ours = [labelled(frames[name], f"ours, {name}") for name in _TRAININGS]
        error_by_block(*ours, *theirs, ax=ax)
        models = " and ".join(str(frame.attrs["model"]) for frame in frames.values())
        caption = (
            f"Error after deleting each block of {models}, trained as usual and with stochastic "
            f"depth, measured in this run on {frames['ordinary'].attrs['dataset']}, over the "
            "curves published for CIFAR-10 (raw results of Veit et al. 2016, labelled as "
            f"published). Published: {_published_robustness()}."
        )
        return [Picture(figure, caption)]


def _more_robust(frames: Frames) -> Finding:
    rises = {
        name: singles(frames[name])["error"] - intact_error(frames[name]) for name in _TRAININGS
    }
    both = pd.concat(rises, axis=1).dropna()
    if len(both) < _FEWEST:
        raise NotMeasured("fewer than five blocks in common")
    difference = both["stochastic depth"] - both["ordinary"]
    middle, low, high = median_interval(difference)
    if (difference == 0).all():
        return Finding("no difference at any block", "", False)
    test = wilcoxon(difference, alternative="less")
    medians = (
        f"median rise {points(both['stochastic depth'].median())} points against "
        f"{points(both['ordinary'].median())}"
    )
    return Finding(
        f"{medians}; p = {test.pvalue:.2g}",
        f"difference by block {points(middle)}, {spread(low, high)}",
        bool(test.pvalue < 0.05),
    )


def _same_blocks(frames: Frames) -> Finding:
    theirs = published_singles(STOCHASTIC)
    ours = frames["stochastic depth"]
    blocks, known = len(singles(ours)), len(singles(theirs))
    if blocks != known:
        raise NotMeasured(f"published for {known} blocks, this network has {blocks}")
    value, low, high = alike(ours, theirs)
    return Finding(f"rho = {value:.3f} over {known} blocks", f"{low:.3f} to {high:.3f}", low > 0)


def _published_robustness() -> str:
    known = facts()["single_deletion"]
    rises = [known[name]["median"] - known[name]["intact"] for name in (STOCHASTIC, RESIDUAL)]
    return f"median rise {points(rises[0])} points against {points(rises[1])}"
