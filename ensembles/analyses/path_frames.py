"""Rows of a path analysis: from measured logarithms to columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from ensembles.analyses.path_columns import (
    Array,
    Samples,
    linear,
    log10,
    mean_over_images,
    relative,
    rms_over_draws,
)
from ensembles.decomposition import Decomposition
from ensembles.unravelling.measurement import GradientMeasures, LogitMeasures
from ensembles.unravelling.path_counts import paths_to
from ensembles.unravelling.places import Place
from ensembles.unravelling.random_signs import Signed
from ensembles.unravelling.single_paths import Drawn

__all__ = ["Row", "class_rows", "gradient_rows", "layout", "logit_rows", "range_rows", "relative"]

GRADIENT_COLUMNS = (
    "at", "length", "paths",
    "gradient_coherent", "gradient_coherent_sd", "gradient_coherent_log10",
    "gradient_rms", "gradient_rms_se", "gradient_rms_sd", "gradient_rms_log10",
    "gradient_mean", "gradient_mean_se", "gradient_mean_low", "gradient_mean_high",
    "gradient_mean_top", "gradient_mean_log10", "sampled_rms",
)  # fmt: skip
LOGIT_COLUMNS = (
    "class", "length", "paths", "logit_norm", "logit_norm_sd", "logit_norm_log10",
    "accuracy_up_to", "accuracy_from", "accuracy_alone",
)  # fmt: skip
Row = dict[str, Any]


def layout(rows: Sequence[Row], direction: str, attrs: Mapping[str, object]) -> pd.DataFrame:
    """Put rows into a table with all columns of a direction, NaN where nothing was measured."""
    names = GRADIENT_COLUMNS if direction == "gradient" else LOGIT_COLUMNS
    types = {"at": "str", "class": "str", "length": "int64", "paths": "object"}
    frame = pd.DataFrame(
        {
            name: pd.Series(
                [row.get(name, np.nan) for row in rows], dtype=types.get(name, "float64")
            )
            for name in names
        }
    )
    frame.attrs.update(attrs)
    return frame


def gradient_rows(
    net: Decomposition, place: Place, found: GradientMeasures, seed: int
) -> list[Row]:
    """One row for each length at one place."""
    counts = paths_to(net, place)
    columns: dict[str, Array] = {}
    if found.coherent is not None:
        mean, spread = mean_over_images(found.coherent.numpy())
        columns |= _named("gradient_coherent", mean)
        columns["gradient_coherent_sd"] = linear(spread)
    if found.signed is not None:
        columns |= _rms(found.signed, [max(1, number) for number in counts.values()])
    if found.drawn is not None:
        columns |= _means(found.drawn, seed)
    return [
        {"at": place.text, "length": length, "paths": number}
        | {name: float(values[i]) for name, values in columns.items()}
        for i, (length, number) in enumerate(counts.items())
    ]


def _named(name: str, log2: Array) -> dict[str, Array]:
    return {name: linear(log2), f"{name}_log10": log10(log2)}


def _rms(signed: Signed, counts: Sequence[int]) -> dict[str, Array]:
    each, share = rms_over_draws(signed.norms.numpy(), signed.owners.numpy(), counts)
    mean, spread = mean_over_images(each)
    with np.errstate(invalid="ignore"):
        part = linear(each - mean[:, None])
    error = np.sqrt(np.nansum((share * part) ** 2, -1)) / each.shape[-1]
    return {
        **_named("gradient_rms", mean),
        "gradient_rms_se": linear(mean) * error,
        "gradient_rms_sd": linear(spread),
    }


def _means(drawn: Drawn, seed: int) -> dict[str, Array]:
    samples = Samples(drawn.norms.numpy(), drawn.weights.numpy(), drawn.owners.numpy())
    low, high = samples.interval(seed)
    return {
        **_named("gradient_mean", samples.mean()),
        "gradient_mean_se": samples.error(),
        "gradient_mean_low": low,
        "gradient_mean_high": high,
        "gradient_mean_top": samples.tail_share(),
        "sampled_rms": linear(samples.rms()),
    }


def logit_rows(found: LogitMeasures, counts: Mapping[int, int], name: str = "all") -> list[Row]:
    """One row for each length."""
    mean, spread = mean_over_images(found.log2_norms.numpy())
    running = found.parts.cumsum(0)
    later = found.parts.flip(0).cumsum(0).flip(0)
    columns = {
        **_named("logit_norm", mean),
        "logit_norm_sd": linear(spread),
        "accuracy_up_to": _accuracy(running, found),
        "accuracy_from": _accuracy(later, found),
        "accuracy_alone": _accuracy(found.parts, found),
    }
    return [
        {"class": name, "length": length, "paths": number}
        | {key: float(values[i]) for key, values in columns.items()}
        for i, (length, number) in enumerate(counts.items())
    ]


def class_rows(
    found: LogitMeasures, counts: Mapping[int, int], names: Sequence[str] | None
) -> list[Row]:
    """The rows again for the images of each class."""
    each = _by_class(found, names).items()
    return [row for name, part in each for row in logit_rows(part, counts, name)]


def _by_class(found: LogitMeasures, names: Sequence[str] | None) -> dict[str, LogitMeasures]:
    parts = {}
    for label in sorted(set(found.labels.tolist())):
        here = found.labels == label
        parts[names[label] if names else str(label)] = LogitMeasures(
            found.parts[:, here],
            found.log2_norms[:, here],
            found.constant[here],
            found.labels[here],
            found.logits[here],
        )
    return parts


def range_rows(
    found: LogitMeasures,
    counts: Mapping[int, int],
    ranges: Sequence[tuple[int, int]],
    *,
    per_class: bool = False,
    names: Sequence[str] | None = None,
) -> pd.DataFrame:
    """One row for each range of lengths, and again for the images of each class if asked."""
    subjects = {"all": found} | (_by_class(found, names) if per_class else {})
    rows = [
        (name, first, last, sum(counts[k] for k in range(first, last + 1)), accuracy)
        for name, part in subjects.items()
        for (first, last), accuracy in zip(ranges, _of_ranges(part, ranges), strict=True)
    ]
    types = {
        "class": "str", "first": "int64", "last": "int64", "paths": "object", "accuracy": "float64",
    }  # fmt: skip
    columns = zip(*rows, strict=True)
    frame = pd.DataFrame(
        {name: pd.Series(c, dtype=types[name]) for name, c in zip(types, columns, strict=True)}
    )
    return frame if per_class else frame.drop(columns="class")


def _of_ranges(found: LogitMeasures, ranges: Sequence[tuple[int, int]]) -> list[float]:
    """The accuracy of all paths of each range of lengths."""
    running = torch.cat([torch.zeros_like(found.parts[:1]), found.parts.cumsum(0)])
    return [
        float(_accuracy((running[last + 1] - running[first])[None], found)[0])
        for first, last in ranges
    ]


def _accuracy(parts: Tensor, found: LogitMeasures) -> Array:
    """Share of images whose class the constant and these contributions give."""
    correct = (parts + found.constant).argmax(-1) == found.labels
    return np.asarray(correct.double().mean(-1).numpy(), dtype=np.float64)
