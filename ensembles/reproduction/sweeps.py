"""Figures 5a and 5b, and duplication: many blocks at once, drawn at random."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd

from ensembles.lesions import Choice
from ensembles.plots.quartiles import error_quartiles
from ensembles.reproduction.bench import Bench
from ensembles.reproduction.beside import sizes_beside
from ensembles.reproduction.experiment import (
    Claim,
    Comparison,
    Experiment,
    Finding,
    Frames,
    Picture,
)
from ensembles.reproduction.intervals import Array, interval_of, median_interval
from ensembles.reproduction.published import facts, published_quartiles
from ensembles.reproduction.shapes import (
    FILLED,
    chance_of,
    correlation,
    intact_error,
    smoothness,
    spread,
)
from ensembles.reproduction.summaries import by_count, by_tau, largest_step
from ensembles.reproduction.unmeasured import NotMeasured
from ensembles.text import read_counts

__all__ = ["DELETIONS", "DUPLICATIONS", "REORDERINGS", "half_way", "less_than_deleting"]

_COUNTS = {"delete": "1-20", "reorder": "1-10", "duplicate": "1-10"}
_WORDS = {
    "delete": "deleting random blocks",
    "reorder": "swapping random blocks",
    "duplicate": "duplicating random blocks",
}


def _sweep(bench: Bench, kind: str) -> pd.DataFrame:
    scale, subject = bench.setting.scale, bench.residual()
    trials = {
        "delete": scale.deletions,
        "reorder": scale.reorderings,
        "duplicate": scale.duplications,
    }[kind]
    fitting = _fitting(_COUNTS[kind], len(subject.net))
    choice = Choice(kind, read_counts(fitting), trials, bench.setting.seed)
    return bench.lesions(subject, subject.lesions(choice), _WORDS[kind])


def _fitting(counts: str, blocks: int) -> str:
    """The counts, as far as there are blocks."""
    last = int(counts.rpartition("-")[2])
    return f"1-{min(last, blocks)}"


def _measuring(*kinds: str) -> Callable[[Bench], Frames]:
    def measure(bench: Bench) -> Frames:
        frames = Frames()
        for kind in kinds:
            with frames.part(kind):
                frames[kind] = _sweep(bench, kind)
        return frames

    return measure


def half_way(frame: pd.DataFrame, published: int) -> Finding:
    """At how many deleted blocks the median error passes half of the way from intact to chance.

    Holds where the bootstrap interval over lesions holds the published number.
    """
    level = (intact_error(frame) + chance_of(frame)) / 2
    cut = frame[(frame["lesion"] == "delete") & frame["error"].notna()]
    groups = [group["error"].to_numpy(float) for _, group in cut.groupby("count")]
    if min(map(len, groups), default=0) < FILLED:
        raise NotMeasured(f"fewer than {FILLED} lesions of a size")
    last = int(cut["count"].max())
    counts = np.array([*sorted(set(cut["count"])), last + 1], float)

    def passing(*drawn: Array, axis: int = -1) -> Array:
        above = np.stack([np.median(group, axis=axis) >= level for group in drawn], axis=-1)
        return counts[np.where(above.any(axis=-1), above.argmax(axis=-1), len(counts) - 1)]

    ours = float(passing(*groups))
    low, high = interval_of(passing, *groups)
    return Finding(
        _number(ours, last),
        f"{_number(low, last)} to {_number(high, last)}",
        bool(low <= published <= high),
    )


def _number(count: float, last: int) -> str:
    return f"{round(count)}" if count <= last else f"more than {last}"


def _published_half_way() -> int:
    known = published_quartiles("delete")
    intact = facts()["single_deletion"]["preact_resnet110_cifar10"]["intact"]
    return int(known.loc[known["median"] >= (intact + 0.9) / 2, "count"].iloc[0])


def less_than_deleting(frames: Frames) -> Finding:
    """Median error after duplicating less that after deleting as many blocks.

    For the largest number of blocks that both were drawn for; holds where the bootstrap interval of
    the difference lies below 0.
    """
    copied, cut = frames["duplicate"], frames["delete"]
    both = set(copied.loc[copied["lesion"] == "duplicate", "count"])
    both &= set(cut.loc[cut["lesion"] == "delete", "count"])
    if not both:
        raise NotMeasured("no number of blocks was both duplicated and deleted")
    count = max(both)
    a = _errors(copied, "duplicate", count)
    b = _errors(cut, "delete", count)
    if min(len(a), len(b)) < FILLED:
        raise NotMeasured(f"fewer than {FILLED} lesions of {count} blocks")

    def difference(copies: Array, cuts: Array, axis: int = -1) -> Array:
        return np.asarray(np.median(copies, axis=axis) - np.median(cuts, axis=axis))

    low, high = interval_of(difference, a, b)
    text = (
        f"{count} blocks: duplicated {100 * median_interval(a)[0]:.2f} %, "
        f"deleted {100 * median_interval(b)[0]:.2f} %"
    )
    return Finding(text, f"difference {spread(low, high)}", high < 0)


def _errors(frame: pd.DataFrame, kind: str, count: int) -> Array:
    chosen = frame[(frame["lesion"] == kind) & (frame["count"] == count)]
    return chosen["error"].dropna().to_numpy(float)


def _drawing(kind: str, by: str, xlabel: str) -> Callable[[Frames], list[Picture]]:
    def draw(frames: Frames) -> list[Picture]:
        if kind not in frames:
            return []
        frame = frames[kind]
        cut = frame[frame["lesion"] == kind]
        ours = by_tau(cut) if by == "tau" else by_count(cut)
        ours.attrs = dict(frame.attrs)
        theirs = published_quartiles(kind, by)
        figure = error_quartiles(ours, theirs, x=by, xlabel=xlabel).figure
        caption = (
            f"Median error and quartiles of {frame.attrs['model']} ({len(cut)} lesions of this "
            "run), over the medians and quartiles published for a pre-activation ResNet-110 on "
            "CIFAR-10 (raw results of Veit et al. 2016)."
        )
        return [Picture(figure, caption)]  # type: ignore[arg-type]

    return draw


def _comparing(kind: str, by: str) -> Callable[[Frames], list[Comparison]]:
    def compare(frames: Frames) -> list[Comparison]:
        if kind not in frames:
            return []
        return [sizes_beside(frames[kind], kind, by, published_quartiles(kind, by))]

    return compare


def _rise(kind: str, by: str = "count") -> str:
    known = published_quartiles(kind, by)
    known = known[known["n"] >= FILLED]
    first, last = known["median"].iloc[0], known["median"].iloc[-1]
    step = largest_step(known["median"])
    return f"medians {100 * first:.2f} % to {100 * last:.2f} %, largest step {step:.0%} of the rise"


def _rho(kind: str, by: str = "count") -> str:
    known = facts()["sweeps"][kind]
    return f"rho = {known[f'spearman_{by}']:.3f} over {known['lesions']}"


_ABOVE = "the interval of Spearman's rank correlation lies above 0"
_SMOOTH = "the medians rise, and no step between neighbours is more than a third of the whole rise"

DELETIONS = Experiment(
    "5a",
    "Figure 5a: deleting several blocks",
    ("Random sets of 1 to 20 blocks are deleted, each set of a size as likely as any other.",),
    (
        Claim(
            "The error grows with the number of deleted blocks",
            _ABOVE,
            _rho("delete"),
            ("delete",),
            lambda frames: correlation(frames["delete"], "delete"),
        ),
        Claim(
            "The error grows smoothly with the number of deleted blocks",
            _SMOOTH,
            _rise("delete"),
            ("delete",),
            lambda frames: smoothness(frames["delete"], "delete"),
        ),
        Claim(
            "Number of deleted blocks that bring the median error half of the way to chance",
            "the bootstrap interval of our number holds the published one",
            str(_published_half_way()),
            ("delete",),
            lambda frames: half_way(frames["delete"], _published_half_way()),
        ),
    ),
    _measuring("delete"),
    _drawing("delete", "count", "Number of deleted blocks"),
    _comparing("delete", "count"),
)

REORDERINGS = Experiment(
    "5b",
    "Figure 5b: reordering blocks",
    (
        "Random pairs of blocks of equal shape change places, 1 to 10 times; Kendall tau measures "
        "how much of the order is left.",
    ),
    (
        Claim(
            "The error grows as the order is lost",
            "the interval of Spearman's rank correlation with Kendall tau lies below 0",
            _rho("reorder", "kendall_tau"),
            ("reorder",),
            lambda frames: correlation(frames["reorder"], "reorder", "kendall_tau"),
        ),
        Claim(
            "The error grows smoothly as the order is lost",
            _SMOOTH + " (bins of Kendall tau of width 0.025)",
            _rise("reorder", "tau"),
            ("reorder",),
            lambda frames: smoothness(frames["reorder"], "reorder", "tau"),
        ),
    ),
    _measuring("reorder"),
    _drawing("reorder", "tau", "Kendall tau of the order of the blocks"),
    _comparing("reorder", "tau"),
)

DUPLICATIONS = Experiment(
    "duplicate",
    "Duplicating blocks",
    (
        "Random sets of 1 to 10 blocks that keep the shape run twice in a row. The authors' raw "
        "results hold these lesions; the text does not speak of them.",
    ),
    (
        Claim(
            "The error grows with the number of duplicated blocks (raw results)",
            _ABOVE,
            _rho("duplicate"),
            ("duplicate",),
            lambda frames: correlation(frames["duplicate"], "duplicate"),
        ),
        Claim(
            "Duplicating blocks costs less than deleting as many (raw results)",
            "at the largest number of blocks, the bootstrap interval of the difference of the "
            "median errors lies below 0",
            "10 blocks: duplicated "
            f"{100 * published_quartiles('duplicate')['median'].iloc[9]:.2f} %, deleted "
            f"{100 * published_quartiles('delete')['median'].iloc[9]:.2f} %",
            ("duplicate", "delete"),
            less_than_deleting,
        ),
    ),
    _measuring("duplicate", "delete"),
    _drawing("duplicate", "count", "Number of duplicated blocks"),
    _comparing("duplicate", "count"),
)
