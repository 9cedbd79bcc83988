"""Layer criticality (Gavrikov et al. 2024): what the training changes of it."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from ensembles.plots.measures import counted
from ensembles.reproduction.experiment import Experiment, Parts, Picture
from ensembles.reproduction.fresh_weights import (
    DRAWS,
    criticality_curve,
    draw_by_place,
    fresh_weights_part,
)
from ensembles.reproduction.judgements import Claim, Finding, Frames
from ensembles.reproduction.named import NotMeasured
from ensembles.reproduction.published import facts
from ensembles.reproduction.published_layers import differences
from ensembles.statistics import bootstrap_items

if TYPE_CHECKING:
    from ensembles.reproduction.bench import Bench

__all__ = ["CriticalityTrainings"]

_ORDINARY, _OTHERS = "ordinary", ("stochastic depth", "paths only")
_IN_WORDS = {"stochastic depth": "with stochastic depth", "paths only": "on effective paths only"}
_FEWEST = 5


class CriticalityTrainings(Experiment):
    """Networks of one architecture, trained in several ways, with fresh weights in every block."""

    key = "criticality-trainings"
    paper = "gavrikov2024"
    title = "Criticality after other trainings"
    about = (
        "Gavrikov et al. compare 50 trainings of one architecture on the same images, among them "
        "adversarial, contrastive and with other recipes. Here the trainings are ordinary, with "
        "stochastic depth and on effective paths only; each block gets fresh weights three times.",
    )

    def parts(self, bench: Bench) -> Parts:
        """See the base class."""
        parts = Parts()
        for name in (_ORDINARY, *_OTHERS):
            with parts.part(name):
                network = bench.network(bench.request.model, name)
                parts[name] = fresh_weights_part(bench, network)
        return parts

    def claims(self) -> tuple[Claim, ...]:
        """See the base class."""
        known = facts()["layer_criticality"]
        published = (
            f"mean difference of a block's criticality {known['network_difference']:.3f} between "
            f"two of {known['networks']} trainings, {known['trial_difference']:.3f} between two "
            "draws of fresh weights in one network"
        )
        return tuple(
            Claim(
                f"Training {_IN_WORDS[other]} changes which blocks are critical",
                "the bootstrap interval over blocks of the mean absolute difference between the "
                "two trainings (of different draws), less that between two draws of one training, "
                "lies above 0",
                published,
                (_ORDINARY, other),
                partial(_changed, other),
                "imagenet",
            )
            for other in _OTHERS
        )

    def draw(self, frames: Frames) -> list[Picture]:
        """See the base class."""
        if len(frames) < 2:
            return []
        curves = {name: criticality_curve(frame) for name, frame in frames.items()}
        first = next(iter(frames.values()))
        models = ", ".join(str(frame.attrs["model"]) for frame in frames.values())
        caption = (
            f"Criticality of each block of {models} (fresh weights, mean of {DRAWS} draws, "
            "whiskers from the least to the most; hollow: blocks that change the shape), measured "
            f"in this run on {first.attrs['dataset']}, over that of "
            f"{facts()['layer_criticality']['networks']} trainings of ResNet-50 on ImageNet "
            "(Gavrikov et al. 2024, raw results, CC BY-SA 4.0)."
        )
        numbers = counted(list(frames.values()))
        figure = draw_by_place(curves, first.attrs.get("reshaping", ()), numbers=numbers)
        return [Picture(figure, caption)]


def _changed(other: str, frames: Frames) -> Finding:
    curves = [criticality_curve(frames[name])["draws"] for name in (_ORDINARY, other)]
    common = [
        block
        for block in curves[0].index.intersection(curves[1].index)
        if all(len(curve[block]) == DRAWS for curve in curves)
    ]
    if len(common) < _FEWEST:
        raise NotMeasured(f"fewer than {_FEWEST} blocks in common")
    values = np.stack([np.stack([curve[block] for block in common], 1) for curve in curves])
    between, within = differences(values)
    gap = between - within
    low, high = bootstrap_items(len(gap), lambda chosen: gap[chosen].mean())
    return Finding(
        f"mean difference {between.mean():.3f} between the trainings, {within.mean():.3f} between "
        f"two draws; over {len(common)} blocks",
        f"difference of the two {float(low):.3f} to {float(high):.3f}",
        bool(low > 0),
    )
