"""What the three experiments with random lesions share: their sweeps, pictures and comparisons."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ensembles.lesions import Choice
from ensembles.plots.quartiles import error_quartiles
from ensembles.reproduction.comparisons import sizes_beside
from ensembles.reproduction.criteria import FILLED, of_kind, quartiles
from ensembles.reproduction.experiment import Comparison, Part, Parts, Picture
from ensembles.reproduction.judgements import Frames
from ensembles.reproduction.published import facts, published_quartiles
from ensembles.statistics import largest_step
from ensembles.studies import Sweep

if TYPE_CHECKING:
    from ensembles.reproduction.bench import Bench

__all__ = [
    "GROWS", "RISES_SMOOTHLY", "compared", "drawn", "published_rho", "published_rise",
    "random_parts",
]  # fmt: skip

GROWS = "the interval of Spearman's rank correlation lies above 0"
RISES_SMOOTHLY = (
    "the medians rise, and no step between neighbours is more than a third of the whole rise"
)
_MOST = {"delete": 20, "reorder": 10, "duplicate": 10}


def random_parts(bench: Bench, *kinds: str) -> Parts:
    """Random lesions of the residual network, as many at once as it has blocks for."""
    scale = bench.request.scale
    trials = {
        "delete": scale.deletions,
        "reorder": scale.reorderings,
        "duplicate": scale.duplications,
    }
    parts = Parts()
    for kind in kinds:
        with parts.part(kind):
            network = bench.residual()
            counts = range(1, min(_MOST[kind], len(bench.structure(network))) + 1)
            sweep = bench.sweep(Sweep(Choice(kind, counts, trials[kind])))
            parts[kind] = Part(network, bench.images, sweep)
    return parts


def drawn(frames: Frames, kind: str, by: str, xlabel: str) -> list[Picture]:
    """Our medians and quartiles over the published ones."""
    if kind not in frames:
        return []
    frame = frames[kind]
    ours = quartiles(frame, kind, by)
    ours.attrs = dict(frame.attrs)
    axes = error_quartiles(ours, published_quartiles(kind, by), x=by, xlabel=xlabel)
    caption = (
        f"Median error and quartiles of {frame.attrs['model']} ({len(of_kind(frame, kind))} "
        "lesions of this run), over the medians and quartiles published for a pre-activation "
        "ResNet-110 on CIFAR-10 (raw results of Veit et al. 2016)."
    )
    return [Picture(axes.figure, caption)]  # type: ignore[arg-type]


def compared(frames: Frames, kind: str, by: str) -> list[Comparison]:
    """Our medians beside the published ones."""
    if kind not in frames:
        return []
    return [sizes_beside(frames[kind], kind, by, published_quartiles(kind, by))]


def published_rise(kind: str, by: str = "count") -> str:
    """From where to where the published medians rise, and their largest step."""
    known = published_quartiles(kind, by)
    known = known[known["n"] >= FILLED]
    first, last = known["median"].iloc[0], known["median"].iloc[-1]
    step = largest_step(known["median"])
    return f"medians {100 * first:.2f} % to {100 * last:.2f} %, largest step {step:.0%} of the rise"


def published_rho(kind: str, by: str = "count") -> str:
    """The published rank correlation of the error with the size of the lesion."""
    known = facts()["sweeps"][kind]
    return f"rho = {known[f'spearman_{by}']:.3f} over {known['lesions']}"
