"""Figure 3: every single block deleted, in a residual network and in a VGG."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ensembles.plots.layout import new_figure
from ensembles.plots.lesions import error_by_block
from ensembles.reproduction.comparisons import singles_beside
from ensembles.reproduction.criteria import (
    COSTLIER_IN_WORDS,
    LITTLE_IN_WORDS,
    alike,
    chance_of,
    cost_of_one,
    costlier,
    intact_error,
    labelled,
    points,
    singles,
    spread,
)
from ensembles.reproduction.experiment import Comparison, Experiment, Part, Parts, Picture
from ensembles.reproduction.judgements import Claim, Finding, Frames
from ensembles.reproduction.named import NotMeasured
from ensembles.reproduction.published import RESIDUAL, VGG, facts, published_singles
from ensembles.statistics import error_intervals, wilson_interval
from ensembles.studies import Sweep

if TYPE_CHECKING:
    from ensembles.reproduction.bench import Bench

__all__ = ["SingleDeletion"]

_DESTROYED = 0.9
_BLOCKS = 54


class SingleDeletion(Experiment):
    """Every single block is deleted in turn."""

    key = "3"
    title = "Figure 3: deleting every single block"
    about = (
        "Each block is deleted in turn from a trained network (its branch is removed, its shortcut "
        "kept; a layer of the VGG becomes the identity), and the error is measured.",
    )

    def parts(self, bench: Bench) -> Parts:
        """See the base class."""
        parts = Parts()
        for name, network in (("residual", bench.residual), ("plain", bench.plain)):
            with parts.part(name):
                parts[name] = Part(network(), bench.images, bench.sweep(Sweep()))
        return parts

    def claims(self) -> tuple[Claim, ...]:
        """See the base class."""
        return (*_claims_of_the_text(), *_claims_of_the_raw_results())

    def draw(self, frames: Frames) -> list[Picture]:
        """See the base class."""
        if not frames:
            return []
        ours = [frames[name] for name in ("residual", "plain") if name in frames]
        theirs = [published_singles(RESIDUAL), published_singles(VGG)]
        figure, [ax] = new_figure(height=3.2)
        error_by_block(*(labelled(frame, frame.attrs["model"]) for frame in ours), *theirs, ax=ax)
        names = " and ".join(str(frame.attrs["model"]) for frame in ours)
        caption = (
            f"Error after deleting each block: {names} measured in this run on "
            f"{ours[0].attrs['dataset']}, over the curves published "
            "for CIFAR-10 (raw results of Veit et al. 2016, labelled as published)."
        )
        return [Picture(figure, caption)]

    def compare(self, frames: Frames) -> list[Comparison]:
        """See the base class."""
        if "residual" not in frames or len(singles(frames["residual"])) != _BLOCKS:
            return []
        return [singles_beside(singles(frames["residual"]), singles(published_singles()))]


def _claims_of_the_text() -> tuple[Claim, ...]:
    theirs, vgg = published_singles(), facts()["single_deletion"][VGG]
    theirs.attrs["reshaping"] = theirs.attrs["transitions"]
    return (
        Claim(
            "Deleting one block of a residual network, the median one, hardly changes its error",
            LITTLE_IN_WORDS,
            cost_of_one(theirs).ours,
            ("residual",),
            lambda frames: cost_of_one(frames["residual"]),
        ),
        Claim(
            "Deleting any one layer of a VGG drops it to chance",
            "each deletion raises the error of the intact network by nine tenths or more of what "
            "guessing does",
            f"all {vgg['blocks']} layers published: errors {100 * vgg['lowest']:.1f} to "
            f"{100 * vgg['highest']:.1f} %, median {100 * vgg['median']:.1f} %",
            ("plain",),
            _destroyed,
        ),
        Claim(
            "Blocks that change the resolution cost more than others",
            COSTLIER_IN_WORDS,
            costlier(theirs).ours,
            ("residual",),
            lambda frames: costlier(frames["residual"]),
        ),
    )


def _claims_of_the_raw_results() -> tuple[Claim, ...]:
    theirs = published_singles()
    errors, intact = singles(theirs)["error"], intact_error(theirs)
    others = errors.drop(index=1)
    return (
        Claim(
            "Block 1 costs by far the most accuracy (raw results; not in the text)",
            "the Wilson interval of its error lies above that of every other block",
            f"{points(errors[1] - intact)} points; of the others, block {others.idxmax()} costs "
            f"the most: {points(others.max() - intact)}",
            ("residual",),
            _first_block,
        ),
        Claim(
            "Block 11, which changes no shape, costs clearly too (raw results; not in the text)",
            "the Wilson interval of its error lies above that of the intact network",
            f"{points(errors[11] - intact)} points",
            ("residual",),
            _eleventh_block,
        ),
        Claim(
            "The same blocks matter in our network as in theirs",
            "the bootstrap interval over blocks of Spearman's rank correlation of our errors with "
            "theirs lies above 0",
            "1 by definition",
            ("residual",),
            _same_blocks,
        ),
    )


def _destroyed(frames: Frames) -> Finding:
    frame = frames["plain"]
    intact, chance = intact_error(frame), chance_of(frame)
    errors = singles(frame)["error"]
    gone = int((errors >= intact + _DESTROYED * (chance - intact)).sum())
    low, high = wilson_interval(gone, len(errors))
    text = (
        f"{gone} of {len(errors)} layers; errors {100 * errors.min():.1f} to "
        f"{100 * errors.max():.1f} %, median {100 * errors.median():.1f} %"
    )
    return Finding(text, spread(float(low), float(high)) + " of layers", gone == len(errors))


def _first_block(frames: Frames) -> Finding:
    frame = frames["residual"]
    detail = error_intervals(singles(frame))
    errors, low, high = (detail[name] for name in ("error", "error_low", "error_high"))
    others, intact = errors.drop(index=1), intact_error(frame)
    return Finding(
        f"{points(errors[1] - intact)} points; of the others, block {others.idxmax()} costs the "
        f"most: {points(others.max() - intact)}",
        spread(low[1], high[1]),
        bool(low[1] > high.drop(index=1).max()),
    )


def _eleventh_block(frames: Frames) -> Finding:
    frame = frames["residual"]
    _require_54(len(singles(frame)))
    whole = error_intervals(frame[frame["lesion"] == "none"])["error_high"].iloc[0]
    detail = error_intervals(singles(frame))
    low, high = detail["error_low"][11], detail["error_high"][11]
    return Finding(
        f"{points(detail['error'][11] - intact_error(frame))} points",
        spread(low, high),
        bool(low > whole),
    )


def _same_blocks(frames: Frames) -> Finding:
    _require_54(len(singles(frames["residual"])))
    value, low, high = alike(frames["residual"], published_singles())
    return Finding(f"rho = {value:.3f} over {_BLOCKS} blocks", f"{low:.3f} to {high:.3f}", low > 0)


def _require_54(blocks: int) -> None:
    if blocks != _BLOCKS:
        raise NotMeasured(f"published for {_BLOCKS} blocks, this network has {blocks}")
