"""The authors' own lesions, run again on our network."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pandas as pd

from ensembles.errors import LesionError, UsageError
from ensembles.lesions import Lesion, Structure, parse_lesion
from ensembles.plots.quartiles import error_quartiles
from ensembles.plots.style import new_figure
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
from ensembles.reproduction.intervals import spearman
from ensembles.reproduction.published import facts
from ensembles.reproduction.summaries import by_count, by_tau
from ensembles.reproduction.unmeasured import NotMeasured

__all__ = ["EXPERIMENT", "read_published", "sampled"]

_KINDS = ("delete", "reorder")
_COLUMNS = ("lesion", "blocks", "top1_error")
_WORDS = {"delete": "deletions", "reorder": "reorderings"}


def read_published(path: str | Path) -> pd.DataFrame:
    """Read published lesions.

    Args:
        path: A CSV file with the columns ``lesion``, ``blocks`` and ``top1_error`` (a share).

    Returns:
        Columns ``lesion``, ``blocks``, ``published_error``; repeated lesions once, with their mean.

    Raises:
        UsageError: The file cannot be read, lacks a column, or an error is no share.
    """
    try:
        with Path(path).open(newline="", encoding="utf-8-sig") as file:
            rows = list(csv.DictReader(file, strict=True))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        why = getattr(error, "strerror", None) or error
        raise UsageError(f"published lesions {path}: cannot be read ({why})") from error
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


def _measure(bench: Bench) -> Frames:
    frames = Frames()
    path = bench.setting.published_lesions
    for kind in _KINDS:
        with frames.part(kind):
            if path is None:
                raise NotMeasured("the authors' lesions were not given", "--published-lesions FILE")
            wanted = sampled(
                read_published(path), kind, bench.setting.scale.replayed, bench.setting.seed
            )
            frames[kind] = _replayed(bench, wanted, kind)
    return frames


def _replayed(bench: Bench, wanted: pd.DataFrame, kind: str) -> pd.DataFrame:
    subject = bench.residual()
    lesions: list[Lesion] = []
    try:
        for blocks in wanted["blocks"]:
            lesions.append(parse_lesion(kind, str(blocks)))
            lesions[-1].require(Structure.of(subject.net))
    except LesionError as error:
        raise NotMeasured(f"the published lesions do not fit this network ({error})") from error
    if not lesions:
        raise NotMeasured(f"the file holds no {_WORDS[kind]}")
    frame = bench.lesions(subject, lesions, f"the authors' {_WORDS[kind]}")
    errors = {
        lesion.text: error for lesion, error in zip(lesions, wanted["published_error"], strict=True)
    }
    frame["published_error"] = frame["blocks"].map(errors).where(frame["lesion"] == kind)
    return frame


def agreement(frame: pd.DataFrame, kind: str) -> Finding:
    """Rank correlation, lesion by lesion, of our errors with the published ones.

    Holds where its 95 % interval lies above 0.
    """
    both = frame[frame["lesion"] == kind].dropna(subset=["error", "published_error"])
    value, low, high = spearman(both["error"], both["published_error"])
    if np.isnan(low):
        raise NotMeasured("too few lesions, or all with one error")
    return Finding(f"rho = {value:.3f} over {len(both)}", f"{low:.3f} to {high:.3f}", low > 0)


def _tables(frame: pd.DataFrame, kind: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Quartiles of our errors and of the published ones, for the same lesions."""
    cut = frame[frame["lesion"] == kind]
    summary = by_tau if kind == "reorder" else by_count
    ours = summary(cut)
    theirs = summary(cut.assign(error=cut["published_error"]))
    ours.attrs = dict(frame.attrs)
    theirs.attrs = {"model": "published, same lesions"}
    return ours, theirs


def _draw(frames: Frames) -> list[Picture]:
    if not frames:
        return []
    figure, axes = new_figure(len(frames))
    for ax, kind in zip(axes, frames, strict=True):
        by, label = (
            ("tau", "Kendall tau of the order of the blocks")
            if kind == "reorder"
            else ("count", "Number of deleted blocks")
        )
        error_quartiles(*_tables(frames[kind], kind), x=by, xlabel=label, ax=ax)
    caption = (
        f"The authors' own lesions on {next(iter(frames.values())).attrs['model']}, measured in "
        "this run, over the errors that they published for the very same lesions of their network "
        "(from the file given)."
    )
    return [Picture(figure, caption)]


def _compare(frames: Frames) -> list[Comparison]:
    parts = []
    for kind, frame in frames.items():
        by = "tau" if kind == "reorder" else "count"
        found = sizes_beside(frame, kind, by, _tables(frame, kind)[1])
        parts.append(Comparison(found.frame, f"{_WORDS[kind].capitalize()}: {found.caption}"))
    return parts


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


EXPERIMENT = Experiment(
    "replay",
    "The authors' own lesions, replayed",
    (
        "Deletions and reorderings from the authors' raw results, a seeded sample of each, run on "
        "our network and held against their errors one by one.",
    ),
    tuple(_claim(kind) for kind in _KINDS),
    _measure,
    _draw,
    _compare,
)
