"""Layer criticality (Gavrikov et al. 2024): every block with fresh weights."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from ensembles.plots.measures import counted
from ensembles.reproduction.criteria import spread
from ensembles.reproduction.experiment import Comparison, Experiment, Parts, Picture
from ensembles.reproduction.fresh_weights import (
    DRAWS,
    criticality_curve,
    draw_by_place,
    fresh_weights_part,
    median_at,
)
from ensembles.reproduction.judgements import Claim, Finding, Frames
from ensembles.reproduction.named import NotMeasured
from ensembles.reproduction.published import facts
from ensembles.reproduction.published_layers import (
    CRITICAL,
    LITTLE_CHANGE,
    block_table,
    published_blocks,
    read_layers,
)
from ensembles.statistics import mann_whitney, rank_correlation, wilson_interval

if TYPE_CHECKING:
    from ensembles.reproduction.bench import Bench

__all__ = ["Criticality"]

_DATA, _PUBLISHED = "imagenet", "published"
_FEWEST = 5


class Criticality(Experiment):
    """The branch of every block gets fresh weights."""

    key = "criticality"
    paper = "gavrikov2024"
    title = "Criticality: every block with fresh weights"
    about = (
        "The branch of each block in turn gets weights drawn anew, three times; its criticality is "
        "1 less the mean cosine between the softmax outputs with them and without. Gavrikov et al. "
        "did so with each single layer of 50 ResNet-50s on ImageNet. Different here: all layers of "
        "a branch at once (the published value of a block is the mean of its three convolutions), "
        "other networks, other images.",
    )

    def parts(self, bench: Bench) -> Parts:
        """See the base class."""
        parts = Parts()
        for name, network in (("residual", bench.residual), ("plain", bench.plain)):
            with parts.part(name):
                parts[name] = fresh_weights_part(bench, network())
        return parts

    def frames(self, measured: Frames, bench: Bench) -> Frames:
        """Add ``published``, their networks one by one, where their results are at hand."""
        path = bench.request.published_layers
        if path is not None:
            measured[_PUBLISHED] = block_table(read_layers(path))
            measured[_PUBLISHED].attrs = {"model": "published", "dataset": _DATA}
        return measured

    def claims(self) -> tuple[Claim, ...]:
        """See the base class."""
        known = facts()["layer_criticality"]
        count, layers = known["networks"], 3 * len(known["blocks"]["names"])
        of_all = f"of {layers} layers of {count} networks"
        return (
            Claim(
                "Some parts of a network can have random weights with little effect",
                f"the criticality of one block or more is below {LITTLE_CHANGE} in each of "
                f"{DRAWS} draws",
                f"criticality below {LITTLE_CHANGE}: {known['little']:.1%} {of_all}",
                ("residual",),
                _little,
                _DATA,
            ),
            Claim(
                "Other parts are critical",
                f"the criticality of one block or more is above {CRITICAL} in each of {DRAWS} "
                "draws",
                f"criticality above {CRITICAL}: {known['critical']:.1%} {of_all}",
                ("residual",),
                _critical,
                _DATA,
            ),
            Claim(
                "The first block of a stage is more critical than others (raw results)",
                "a one-sided Mann-Whitney test of the criticality of blocks that change the shape "
                "against that of the others gives p < 0.05",
                _published_firsts(),
                ("residual",),
                _firsts,
                _DATA,
            ),
            Claim(
                "The same places matter in our network as in theirs",
                "the bootstrap interval over blocks of Spearman's rank correlation of our "
                "criticality with their median at the same share of the depth lies above 0",
                f"each of their networks with the median of the others: rho = "
                f"{known['with_others']['median']:.3f} in the median, "
                f"{known['with_others']['lowest']:.3f} to {known['with_others']['highest']:.3f}",
                ("residual",),
                _same_places,
                _DATA,
            ),
            Claim(
                "Our blocks are as critical as theirs",
                "of our blocks more than a half, with the whole of Wilson's interval, lie between "
                "the least and the most critical of their networks at the same share of the depth",
                f"{count} networks, blocks {_range_of_medians()} in the median",
                ("residual",),
                _inside,
                _DATA,
            ),
        )

    def draw(self, frames: Frames) -> list[Picture]:
        """See the base class."""
        ours = [frame for name, frame in frames.items() if name != _PUBLISHED]
        if not ours:
            return []
        curves = {str(one.attrs["model"]): criticality_curve(one) for one in ours}
        theirs = frames.get(_PUBLISHED)
        known = facts()["layer_criticality"]
        caption = (
            f"Criticality of each block of {' and '.join(curves)} (fresh weights, mean of {DRAWS} "
            "draws, whiskers from the least to the most; hollow: blocks that change the shape), "
            f"measured in this run on {ours[0].attrs['dataset']}, over that of "
            f"{known['networks']} ResNet-50s on ImageNet, their least and most, quartiles and "
            "median at each of 16 blocks (Gavrikov et al. 2024, raw results, CC BY-SA 4.0; mean of "
            "the convolutions of a block)"
            + (", and each of them as a thin line." if theirs is not None else ".")
        )
        figure = draw_by_place(
            curves, ours[0].attrs.get("reshaping", ()), theirs, numbers=counted(ours)
        )
        return [Picture(figure, caption)]

    def compare(self, frames: Frames) -> list[Comparison]:
        """See the base class."""
        if "residual" not in frames:
            return []
        curve = criticality_curve(frames["residual"])
        theirs = median_at(curve["place"].to_numpy(float))
        table = pd.DataFrame(
            {
                "block": curve.index,
                "criticality": curve["criticality"].to_numpy(),
                "least draw": curve["least"].to_numpy(),
                "most": curve["most"].to_numpy(),
                "accuracy left %": 100 * curve["recovered"].to_numpy(),
                "published median": theirs["median"],
                "published lowest": theirs["lowest"],
                "published highest": theirs["highest"],
            }
        )
        caption = (
            "Criticality of each block, beside that of the published networks at the same share of "
            "the depth"
        )
        return [Comparison(table.round(4), caption)]


def _little(frames: Frames) -> Finding:
    curve = criticality_curve(frames["residual"])
    return _counted(curve, curve["most"] < LITTLE_CHANGE, f"below {LITTLE_CHANGE}")


def _critical(frames: Frames) -> Finding:
    curve = criticality_curve(frames["residual"])
    return _counted(curve, curve["least"] > CRITICAL, f"above {CRITICAL}")


def _counted(curve: pd.DataFrame, chosen: pd.Series, words: str) -> Finding:
    found, count = int(chosen.sum()), len(curve)
    low, high = wilson_interval(found, count)
    listed = ", ".join(f"{block}" for block in curve.index[chosen][:8])
    named = f" ({listed}{', ...' if found > 8 else ''})" if found else ""
    return Finding(
        f"{found} of {count} blocks {words} in each draw{named}; median criticality "
        f"{curve['criticality'].median():.3f}",
        spread(float(low), float(high)) + " of blocks",
        found > 0,
    )


def _firsts(frames: Frames) -> Finding:
    frame = frames["residual"]
    curve = criticality_curve(frame)
    return _higher(curve["criticality"], frame.attrs.get("reshaping") or [])


def _higher(values: pd.Series, wanted: list[int]) -> Finding:
    inside, outside = values[values.index.isin(wanted)], values[~values.index.isin(wanted)]
    if inside.empty or outside.empty:
        raise NotMeasured("no blocks that change the shape, or no others")
    test = mann_whitney(inside, outside)
    listed = ", ".join(f"{block}: {value:.2f}" for block, value in inside.items())
    return Finding(
        f"more critical than another block in {test.probability:.0%} of pairs ({listed}; median of "
        f"the others {outside.median():.2f})",
        f"p = {test.p_value:.2g}",
        bool(test.p_value < 0.05),
    )


def _published_firsts() -> str:
    known = published_blocks()
    values = pd.Series(known["median"].to_numpy(), index=range(1, len(known) + 1))
    firsts = [place for place, name in enumerate(known["block"], 1) if name.endswith(".0")]
    return _higher(values, firsts).ours


def _range_of_medians() -> str:
    medians = published_blocks()["median"]
    return f"{medians.min():.2f} to {medians.max():.2f}"


def _same_places(frames: Frames) -> Finding:
    curve = criticality_curve(frames["residual"])
    if len(curve) < _FEWEST:
        raise NotMeasured(f"fewer than {_FEWEST} blocks")
    theirs = median_at(curve["place"].to_numpy(float))["median"]
    value, low, high = rank_correlation(curve["criticality"], theirs)
    if np.isnan(low):
        raise NotMeasured("all blocks are as critical")
    return Finding(
        f"rho = {value:.3f} over {len(curve)} blocks", f"{low:.3f} to {high:.3f}", low > 0
    )


def _inside(frames: Frames) -> Finding:
    curve = criticality_curve(frames["residual"])
    theirs = median_at(curve["place"].to_numpy(float))
    ours = curve["criticality"].to_numpy(float)
    below, above = ours < theirs["lowest"], ours > theirs["highest"]
    found = int((~below & ~above).sum())
    low, high = wilson_interval(found, len(curve))
    return Finding(
        f"{found} of {len(curve)} blocks; {int(below.sum())} are less critical than any of theirs, "
        f"{int(above.sum())} more",
        spread(float(low), float(high)) + " of blocks",
        bool(low > 0.5),
    )
