"""Path analyses image by image: their mean, and what the choice of images leaves open."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ensembles.analyses.path_columns import log2_count, relative
from ensembles.reproduction.experiment import Part, Parts
from ensembles.reproduction.judgements import Frames
from ensembles.statistics import bootstrap_items
from ensembles.unravelling.effective_interval import effective

__all__ = ["MEASURES", "add_parts", "decay", "effective_intervals", "join_images", "pooled"]

MEASURES = {
    "gradient_mean": ("mean norm of drawn paths x their number, as published", True),
    "gradient_rms": ("RMS norm of the single path x their number", True),
    "gradient_coherent": ("norm of the sum of all paths of a length, exact", False),
}
_RESAMPLES = 400
Array = NDArray[np.float64]


def add_parts(parts: Parts, name: str, images: Iterable[Part]) -> None:
    """Ask for the analysis of each image by itself.

    Args:
        parts: What an experiment asks for.
        name: Name of the table that :func:`join_images` makes of them.
        images: The analysis of each.
    """
    parts.update({f"{name}, image {place}": part for place, part in enumerate(images)})


def join_images(frames: Frames, name: str) -> None:
    """Put the analyses of single images into one table, with the column ``image`` first.

    Args:
        frames: The tables of an experiment; those of single images are taken out. Where one is
            missing, so is the whole, for the same reason.
        name: As for :func:`add_parts`.
    """
    start = f"{name}, image "
    parts = [frames.pop(one) for one in list(frames) if one.startswith(start)]
    lost = [frames.missing.pop(one) for one in list(frames.missing) if one.startswith(start)]
    if lost:
        frames.missing[name] = lost[0]
    elif parts:
        frames[name] = _stacked(parts)


def _stacked(parts: Sequence[pd.DataFrame]) -> pd.DataFrame:
    attrs = _joined([part.attrs for part in parts])
    bare = [part.assign(image=place) for place, part in enumerate(parts)]
    for part in bare:
        part.attrs = {}
    whole = pd.concat(bare, ignore_index=True)
    whole.insert(0, "image", whole.pop("image"))
    whole.attrs = attrs
    return whole


def _joined(parts: Sequence[Mapping[Hashable, Any]]) -> dict[Hashable, Any]:
    """Attributes of a table of all images: as :func:`ensembles.paths` gives them for so many."""
    attrs = dict(parts[0])
    for name in ("provenance", "options"):
        if "images" in attrs.get(name, {}):
            attrs[name] = {**attrs[name], "images": len(parts)}
    if "cancellation" in attrs:
        ratios = pd.DataFrame([part["cancellation"] for part in parts])
        attrs["cancellation"] = {str(at): float(ratios[at].median()) for at in ratios}
    if "sum_error" in attrs:
        attrs["sum_error"] = max(part["sum_error"] for part in parts)
    return {**attrs, "images": len(parts)}


def pooled(whole: pd.DataFrame) -> pd.DataFrame:
    """The mean over images, laid out as :func:`ensembles.paths` returns it.

    ``gradient_mean_low`` and ``_high`` are the bootstrap interval over images here;
    ``gradient_rms_se`` is the standard error over draws of signs.

    Args:
        whole: A table of :func:`join_images`.
    """
    first = whole[whole["image"] == 0]
    found = first[["length", "paths"]].reset_index(drop=True)
    for name in MEASURES:
        logs = _logs(whole, name)
        found[f"{name}_log10"] = _mean_log10(logs)
        found[name] = 10.0 ** found[f"{name}_log10"]
    images = int(whole["image"].nunique())
    errors = _per_image(whole, "gradient_rms_se")
    found["gradient_rms_se"] = np.sqrt((errors**2).sum(axis=0)) / images
    drawn = _logs(whole, "gradient_mean")
    ends = bootstrap_items(images, lambda chosen: _mean_log10(drawn[chosen]), resamples=_RESAMPLES)
    found["gradient_mean_low"], found["gradient_mean_high"] = (10.0**end for end in ends)
    found.attrs = dict(whole.attrs)
    return found


def effective_intervals(whole: pd.DataFrame, share: float = 0.95) -> pd.DataFrame:
    """The shortest interval of lengths that holds a share of each measure, and its own interval.

    Args:
        whole: As for :func:`pooled`.
        share: The part of the measure to hold.

    Returns:
        One row for each of :data:`MEASURES`: ``measure``, ``what``, ``first``, ``last``, ``share``
        (of all paths), each with ``_low`` and ``_high``, the bootstrap interval over images; NaN
        where a measure is not finite.
    """
    lengths = whole.loc[whole["image"] == 0, "length"].astype(int).tolist()
    numbers = [int(count) for count in whole.loc[whole["image"] == 0, "paths"]]
    counts = dict(zip(lengths, numbers, strict=True))
    amounts = np.array([log2_count(number) for number in numbers]) * np.log10(2)
    rows = []
    for name, (what, multiplied) in MEASURES.items():
        logs = _logs(whole, name) + (amounts if multiplied else 0)

        def found(chosen: NDArray[np.int64], logs: Array = logs) -> Array:
            values = relative(_mean_log10(logs[chosen]))
            best = effective(dict(zip(lengths, values.tolist(), strict=True)), counts, share)
            return np.array([np.nan] * 3 if best is None else [best.first, best.last, best.share])

        centre = found(np.arange(len(logs)))
        low, high = bootstrap_items(len(logs), found, resamples=_RESAMPLES)
        row: dict[str, object] = {"measure": name, "what": what}
        for place, part in enumerate(("first", "last", "share")):
            row |= {part: centre[place], f"{part}_low": low[place], f"{part}_high": high[place]}
        rows.append(row)
    return pd.DataFrame(rows)


def decay(whole: pd.DataFrame, name: str = "gradient_mean") -> tuple[float, float, float, float]:
    """Fit a straight line to the logarithm of the single path's norm by length.

    Args:
        whole: As for :func:`pooled`.
        name: The measure.

    Returns:
        Slope in decades a block with its bootstrap interval over images, and the share of the
        logarithm's variance that the line explains (R squared). Length 0 is left out.
    """
    lengths = whole.loc[whole["image"] == 0, "length"].to_numpy(float)
    logs = _logs(whole, name)

    def line(chosen: NDArray[np.int64]) -> tuple[float, float]:
        y = _mean_log10(logs[chosen])
        kept = (lengths > 0) & np.isfinite(y)
        slope, start = np.polyfit(lengths[kept], y[kept], 1)
        rest = y[kept] - slope * lengths[kept] - start
        return float(slope), float(1 - rest.var() / y[kept].var())

    slope, explained = line(np.arange(len(logs)))
    low, high = bootstrap_items(len(logs), lambda chosen: line(chosen)[0], resamples=_RESAMPLES)
    return slope, float(low), float(high), explained


def _per_image(whole: pd.DataFrame, name: str) -> Array:
    """A column as (images, lengths)."""
    images = int(whole["image"].nunique())
    return whole[name].to_numpy(float).reshape(images, -1)


def _logs(whole: pd.DataFrame, name: str) -> Array:
    return _per_image(whole, f"{name}_log10")


def _mean_log10(logs: Array) -> Array:
    """Logarithm of the mean over the first axis of numbers given by their logarithms."""
    top = logs.max(axis=0)
    safe = np.where(np.isfinite(top), top, 0.0)
    with np.errstate(divide="ignore"):
        return np.asarray(safe + np.log10((10.0 ** (logs - safe)).mean(axis=0)))
