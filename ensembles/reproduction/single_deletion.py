"""Figure 3: every single block deleted, in a residual network and in a VGG."""

from __future__ import annotations

from ensembles.lesions import single_deletions
from ensembles.plots.lesions import error_by_block
from ensembles.plots.style import new_figure
from ensembles.reproduction.bench import Bench
from ensembles.reproduction.beside import singles_beside
from ensembles.reproduction.experiment import (
    Claim,
    Comparison,
    Experiment,
    Finding,
    Frames,
    Picture,
)
from ensembles.reproduction.published import RESIDUAL, VGG, facts, published_singles
from ensembles.reproduction.shapes import (
    alike,
    chance_of,
    cost_of_one,
    dearer,
    intact_error,
    labelled,
    points,
    singles,
    spread,
)
from ensembles.reproduction.unmeasured import NotMeasured
from ensembles.statistics import error_intervals, wilson_interval

__all__ = ["EXPERIMENT"]

_DESTROYED = 0.9


def _measure(bench: Bench) -> Frames:
    frames = Frames()
    for name, open_network in (("residual", bench.residual), ("plain", bench.plain)):
        with frames.part(name):
            subject = open_network()
            frames[name] = bench.lesions(
                subject, single_deletions(len(subject.net)), "deleting each block"
            )
    return frames


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
        f"{points(errors[1] - intact)} points; the dearest other {others.idxmax()}: "
        f"{points(others.max() - intact)}",
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
    return Finding(f"rho = {value:.3f} over 54 blocks", f"{low:.3f} to {high:.3f}", low > 0)


def _require_54(blocks: int) -> None:
    if blocks != 54:
        raise NotMeasured(f"published for 54 blocks, this network has {blocks}")


def _draw(frames: Frames) -> list[Picture]:
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


def _compare(frames: Frames) -> list[Comparison]:
    if "residual" not in frames or len(singles(frames["residual"])) != 54:
        return []
    return [singles_beside(singles(frames["residual"]), singles(published_singles()))]


def _published(network: str = RESIDUAL) -> Frames:
    frames = Frames()
    frame = published_singles(network)
    frame.attrs["reshaping"] = frame.attrs["transitions"]
    frames["residual"] = frame
    return frames


def _claims() -> tuple[Claim, ...]:
    theirs, vgg = _published(), facts()["single_deletion"][VGG]
    errors = singles(theirs["residual"])["error"]
    intact = intact_error(theirs["residual"])
    return (
        Claim(
            "Deleting one block of a residual network, the median one, hardly changes its error",
            "the median error after one deletion, to the upper end of its interval over blocks, is "
            "less than a tenth of the way from intact to chance",
            cost_of_one(theirs["residual"]).ours,
            ("residual",),
            lambda frames: cost_of_one(frames["residual"]),
        ),
        Claim(
            "Deleting any one layer of a VGG drops it to chance",
            "each deletion brings the error at least nine tenths of the way from intact to chance",
            f"all {vgg['blocks']} layers published: errors {100 * vgg['lowest']:.1f} to "
            f"{100 * vgg['highest']:.1f} %, median {100 * vgg['median']:.1f} %",
            ("plain",),
            _destroyed,
        ),
        Claim(
            "Blocks that change the resolution cost more than others",
            "a one-sided Mann-Whitney test of their errors against those of the other blocks gives "
            "p < 0.05",
            dearer(theirs["residual"]).ours,
            ("residual",),
            lambda frames: dearer(frames["residual"]),
        ),
        Claim(
            "Block 1 is by far the dearest (raw results; not in the text)",
            "the Wilson interval of its error lies above that of every other block",
            f"{points(errors[1] - intact)} points; the dearest other 19: "
            f"{points(errors[19] - intact)}",
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


EXPERIMENT = Experiment(
    "3",
    "Figure 3: deleting every single block",
    (
        "Each block is deleted in turn from a trained network (its branch is removed, its shortcut "
        "kept; a layer of the VGG becomes the identity), and the error is measured.",
    ),
    _claims(),
    _measure,
    _draw,
    _compare,
)
