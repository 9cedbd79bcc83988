"""The authors' own lesions, run again on our network."""

from __future__ import annotations

import csv
from functools import partial
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from ensembles.bounded import read_text
from ensembles.errors import LesionError, UsageError
from ensembles.lesions import Choice, Lesion, parse_lesion
from ensembles.plots.layout import Panel, draw_panels
from ensembles.plots.quartiles import error_quartiles
from ensembles.reproduction.comparisons import sizes_beside
from ensembles.reproduction.criteria import of_kind, quartiles
from ensembles.reproduction.experiment import Comparison, Experiment, Part, Parts, Picture
from ensembles.reproduction.judgements import Claim, Finding, Frames
from ensembles.reproduction.named import NotMeasured
from ensembles.reproduction.published import facts
from ensembles.statistics import rank_correlation
from ensembles.studies import Sweep

if TYPE_CHECKING:
    from ensembles.reproduction.bench import Bench

__all__ = ["Replay", "agreement", "read_published", "sampled"]

_LARGEST = 64 << 20
_COLUMNS = ("lesion", "blocks", "top1_error")
_WORDS = {"delete": "deletions", "reorder": "reorderings"}
_SIZES = {
    "delete": ("count", "Number of deleted blocks"),
    "reorder": ("tau", "Kendall tau of the order of the blocks"),
}


class Replay(Experiment):
    """The authors' own deletions and reorderings are run again."""

    key = "replay"
    title = "The authors' own lesions, replayed"
    about = (
        "Deletions and reorderings from the authors' raw results, a seeded sample of each, run on "
        "our network and held against their errors one by one.",
    )

    def parts(self, bench: Bench) -> Parts:
        """See the base class."""
        parts = Parts()
        for kind in _WORDS:
            with parts.part(kind):
                wanted = _wanted(bench, kind)
                network = bench.residual()
                lesions = _lesions(bench, wanted, kind)
                parts[kind] = Part(network, bench.images, bench.sweep(Sweep(Choice(plan=lesions))))
        return parts

    def frames(self, measured: Frames, bench: Bench) -> Frames:
        """See the base class."""
        for kind, frame in measured.items():
            wanted = _wanted(bench, kind)
            texts = [parse_lesion(kind, str(blocks)).text for blocks in wanted["blocks"]]
            errors = dict(zip(texts, wanted["published_error"], strict=True))
            frame["published_error"] = frame["blocks"].map(errors).where(frame["lesion"] == kind)
        return measured

    def claims(self) -> tuple[Claim, ...]:
        """See the base class."""
        return tuple(_claim(kind) for kind in _WORDS)

    def draw(self, frames: Frames) -> list[Picture]:
        """See the base class."""
        if not frames:
            return []
        panels = []
        for kind, frame in frames.items():
            by, label = _SIZES[kind]
            draw = partial(error_quartiles, *_tables(frame, kind), x=by, xlabel=label)
            panels.append(Panel(kind, draw))
        figure = draw_panels(panels)
        caption = (
            f"The authors' own lesions on {next(iter(frames.values())).attrs['model']}, measured "
            "in this run, over the errors that they published for the very same lesions of their "
            "network (from the file given)."
        )
        return [Picture(figure, caption)]

    def compare(self, frames: Frames) -> list[Comparison]:
        """See the base class."""
        parts = []
        for kind, frame in frames.items():
            found = sizes_beside(frame, kind, _SIZES[kind][0], _tables(frame, kind)[1])
            parts.append(Comparison(found.frame, f"{_WORDS[kind].capitalize()}: {found.caption}"))
        return parts


def read_published(path: str | Path) -> pd.DataFrame:
    """Read published lesions.

    Args:
        path: A CSV file with the columns ``lesion``, ``blocks`` and ``top1_error`` (a share).

    Returns:
        Columns ``lesion``, ``blocks``, ``published_error``; repeated lesions once, with their mean.

    Raises:
        UsageError: The file cannot be read, lacks a column, or an error is no share.
    """
    text = read_text(
        path, "published lesions", error=UsageError, most=_LARGEST, encoding="utf-8-sig"
    )
    try:
        rows = list(csv.DictReader(StringIO(text), strict=True))
    except csv.Error as error:
        raise UsageError(f"published lesions {path}: cannot be read ({error})") from error
    missing = [name for name in _COLUMNS if not rows or name not in rows[0]]
    if missing:
        raise UsageError(
            f"published lesions {path}: no column {', '.join(missing)}; expected "
            f"{', '.join(_COLUMNS)}"
        )
    frame = pd.DataFrame(rows)[list(_COLUMNS)].rename(columns={"top1_error": "published_error"})
    frame["published_error"] = pd.to_numeric(frame["published_error"], errors="coerce")
    if not frame["published_error"].between(0, 1).all():
        raise UsageError(f"published lesions {path}: top1_error holds something else than shares")
    means = frame.groupby(["lesion", "blocks"], sort=False)["published_error"].mean()
    return means.reset_index()


def sampled(published: pd.DataFrame, kind: str, count: int, seed: int) -> pd.DataFrame:
    """A seeded sample of the published lesions of a kind, or all where there are not more."""
    chosen = published[published["lesion"] == kind]
    if len(chosen) <= count:
        return chosen
    order = np.random.default_rng(seed).permutation(len(chosen))[:count]
    return chosen.iloc[np.sort(order)]


def agreement(frame: pd.DataFrame, kind: str) -> Finding:
    """Rank correlation, lesion by lesion, of our errors with the published ones.

    Holds where its 95 % interval lies above 0.
    """
    both = of_kind(frame, kind).dropna(subset=["error", "published_error"])
    value, low, high = rank_correlation(both["error"], both["published_error"])
    if np.isnan(low):
        raise NotMeasured("too few lesions, or all with one error")
    return Finding(f"rho = {value:.3f} over {len(both)}", f"{low:.3f} to {high:.3f}", low > 0)


def _wanted(bench: Bench, kind: str) -> pd.DataFrame:
    request = bench.request
    if request.published_lesions is None:
        raise NotMeasured("the authors' lesions were not given", "--published-lesions FILE")
    published = read_published(request.published_lesions)
    return sampled(published, kind, request.scale.replayed, request.seed)


def _lesions(bench: Bench, wanted: pd.DataFrame, kind: str) -> tuple[Lesion, ...]:
    structure = bench.structure(bench.residual())
    try:
        lesions = [parse_lesion(kind, str(blocks)) for blocks in wanted["blocks"]]
        for lesion in lesions:
            lesion.require(structure)
    except LesionError as error:
        raise NotMeasured(f"the published lesions do not fit this network ({error})") from error
    if not lesions:
        raise NotMeasured(f"the file holds no {_WORDS[kind]}")
    return tuple(lesions)


def _tables(frame: pd.DataFrame, kind: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Quartiles of our errors and of the published ones, for the same lesions."""
    by, _ = _SIZES[kind]
    ours = quartiles(frame, kind, by)
    theirs = quartiles(frame.assign(error=frame["published_error"]), kind, by)
    ours.attrs = dict(frame.attrs)
    theirs.attrs = {"model": "published, same lesions"}
    return ours, theirs


def _claim(kind: str) -> Claim:
    known = facts()["sweeps"][kind]["lesions"]
    return Claim(
        f"The authors' {_WORDS[kind]} that hurt their network hurt ours",
        "the interval of Spearman's rank correlation of our errors with theirs, lesion by lesion, "
        "lies above 0",
        f"{known:,} {_WORDS[kind]} published",
        (kind,),
        lambda frames: agreement(frames[kind], kind),
    )
