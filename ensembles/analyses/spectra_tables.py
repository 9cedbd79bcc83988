"""The tables of spectra: places, scales, two lengths, and the effects of branches."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from ensembles.analyses.base import Run
from ensembles.analyses.branch_effects import WAYS, BranchEffects, branch_effects
from ensembles.analyses.followed_paths import FollowedPaths
from ensembles.analyses.lesion_means import LesionMeans, fitting, known
from ensembles.analyses.path_columns import linear, mean_over_images
from ensembles.analyses.path_measures import expanded, require_shortcuts
from ensembles.analyses.path_options import PathOptions
from ensembles.analyses.row_means import by_part
from ensembles.analyses.some_rows import some_rows
from ensembles.decomposition import Decomposition
from ensembles.decomposition.sublayers import attends
from ensembles.lesions import Delete, Scale
from ensembles.lesions.structure import Structure
from ensembles.numerics import differentiable
from ensembles.statistics import (
    Estimates,
    bootstrap_items,
    jackknife,
    median_interval,
    spearman_interval,
)
from ensembles.unravelling.effective_interval import Effective, effective
from ensembles.unravelling.linearization import Linearizer
from ensembles.unravelling.measurement import GradientMeasures
from ensembles.unravelling.path_counts import paths_to
from ensembles.unravelling.places import Place
from ensembles.unravelling.spectra import head_cotangent
from ensembles.unravelling.two_lengths import two_lengths

if TYPE_CHECKING:
    from ensembles.analyses.members.spectra import SpectraOptions

__all__ = ["spectra_frame"]

Array = NDArray[np.float64]
_RESAMPLES = 200


def spectra_frame(net: Decomposition, data: Any, options: SpectraOptions, run: Run) -> pd.DataFrame:
    """Measure spectra at all blocks and what they are held against, and lay it out."""
    some = some_rows(data, max(options.rows, options.images) if options.rows else 0, "spectra")
    asked = PathOptions.made(
        {"images": options.images, "signs": 0, "at": "blocks", "precision": run.precision},
        "spectra",
    )
    first, images, chosen = expanded(net, some, asked)
    require_shortcuts(first)
    paths = FollowedPaths(first, images, chosen, run)
    found = paths.at("blocks")
    blocks = [block for block in first if block.has_shortcut]
    rows = [
        {"block": block.index, "name": block.name, **_place(first, block.index, found)}
        for block in blocks
    ]
    frame = pd.DataFrame(rows)
    fine, _ = fitting(Structure.of(net), [Delete((block.index,)) for block in blocks])
    numbers = [one.blocks[0] for one in fine]
    effects = branch_effects(net, some, numbers, run)
    _add_effects(frame, effects)
    base = frame.iloc[0]
    scales = [_scaled(paths, factor, base) for factor in options.factors]
    _add_errors(net, some, scales, [block.index for block in blocks], run)
    joint, left_out = _two_lengths(paths, options.cells)
    frame.attrs = {
        "task": run.task.name,
        "observation": run.task.observation,
        "blocks": len(net),
        "transitions": [block.index for block in net if block.is_transition],
        "images": options.images,
        "rows": int(effects.values["deleted"].shape[1]),
        "scales": scales,
        "two_lengths": joint,
        "left_out": left_out,
        "not_held": effects.reason,
        "linear": _agreement(effects),
    }
    return frame


# Places


def _place(
    net: Decomposition, block: int, found: dict[Place, GradientMeasures]
) -> dict[str, float]:
    """What the spectrum at a block's input says."""
    place = Place("block", block)
    measures = found[place]
    assert measures.coherent is not None
    assert measures.cancellation is not None
    log2, counts = measures.coherent.numpy(), paths_to(net, place)
    later = len(counts) - 1
    cancelling = median_interval(measures.cancellation.numpy())
    interval = _interval(log2, counts)
    nothing = math.nan
    if interval is None:
        return {"later": later, "cancellation": nothing}

    def lengths(images: NDArray[np.int64]) -> Array:
        drawn = _interval(log2[:, images], counts)
        return np.array(
            [nothing, nothing] if drawn is None else [drawn.median, _mean(log2, images)]
        )

    mean = _mean(log2, np.arange(log2.shape[1]))
    ends = bootstrap_items(log2.shape[1], lengths, resamples=_RESAMPLES)
    low, high = ends if log2.shape[1] > 1 else (np.full(2, nothing), np.full(2, nothing))
    several = log2.shape[1] > 1
    return {
        "later": later,
        "cancellation": cancelling.value,
        "cancellation_low": cancelling.low if several else nothing,
        "cancellation_high": cancelling.high if several else nothing,
        "first": interval.first,
        "last": interval.last,
        "median": interval.median,
        "median_low": float(low[0]),
        "median_high": float(high[0]),
        "mean": mean,
        "mean_low": float(low[1]),
        "mean_high": float(high[1]),
        "share": interval.share,
        "branch_weight": mean / (later - mean) if later > mean else nothing,
    }


def _mean(log2: Array, images: NDArray[np.int64]) -> float:
    """The mean length by the mean over images of norms, (lengths, images)."""
    norms = mean_over_images(log2[:, images])[0]
    weights = linear(norms - norms.max())
    return float((np.arange(len(weights)) * weights).sum() / weights.sum())


def _interval(log2: Array, counts: Any) -> Effective | None:
    """The effective lengths of the mean over images of norms, (lengths, images)."""
    mean = mean_over_images(log2)[0]
    top = mean.max()
    if not np.isfinite(top):
        return None
    return effective(dict(zip(counts, linear(mean - top).tolist(), strict=True)), counts)


# Scaled branches


def _scaled(measured: FollowedPaths, factor: float, base: Any) -> dict[str, Any]:
    """The spectrum at the first block with all branches scaled, and what a binomial law says."""
    twin = measured.net.with_blocks(
        block.scaled(factor) if block.has_shortcut else block for block in measured.net
    )
    row = _place(twin, 1, measured.at("first", twin, f"scaled {factor}"))
    weight = factor * float(base.get("branch_weight", math.nan))
    names = ("cancellation", "first", "last", "median", "mean", "mean_low", "mean_high")
    return {
        "scale": factor,
        **{name: known(row.get(name, math.nan)) for name in names},
        "binomial_mean": known(int(base["later"]) * weight / (1 + weight)),
    }


def _add_errors(
    net: Decomposition, data: Any, scales: list[dict[str, Any]], blocks: list[int], run: Run
) -> None:
    """Error and loss of the network with all branches scaled, beside its spectrum."""
    lesions = [Scale(tuple(blocks), row["scale"]) for row in scales]
    if not lesions:
        return
    task_run = replace(run, precision="fp32") if run.precision == "fp64" else run
    means = LesionMeans.measured(net, data, lesions, task_run)
    places = means.numbers(lesions)
    for name, which in (("error", 1), ("loss", 0)):
        found = means.estimate(lambda *both, which=which: both[which][places])
        for row, value, low, high in zip(scales, *found, strict=True):
            row |= {name: known(value), f"{name}_low": known(low), f"{name}_high": known(high)}


# Two lengths


def _two_lengths(measured: FollowedPaths, cells: int) -> tuple[list[dict[str, Any]], str]:
    """Norms by the number of attention blocks and of others; or why there are none."""
    net = measured.net
    taken = [block.has_shortcut and attends(block.branch) for block in net]
    first = sum(taken)
    others = sum(block.has_shortcut for block in net) - first
    if not first or not others:
        kind = "attention blocks alone" if first else "no block of attention with a shortcut"
        return [], f"one length alone: {net.model_name} has {kind}"
    size = (first + 1) * (others + 1)
    if size > cells:
        return [], f"one length alone: {size} pairs of lengths are more than {cells} (cells)"
    ready, parts = measured.in_double_precision()
    linearizer = Linearizer(ready, "fast")

    def norms(one: Tensor, label: Tensor) -> dict[str, Any]:
        with torch.no_grad(), differentiable():
            at = linearizer.at(one)
            cotangent, _ = head_cotangent(at.logits, label)
            return {"norms": two_lengths(at, cotangent, taken)[..., 0].cpu().numpy()}

    found: list[Array] = []
    for some, labels in parts:
        for number in range(len(labels)):
            measure = partial(norms, some[number : number + 1], labels[number : number + 1])
            by_lengths = measured.run.kept(f"two lengths {len(found)}", measure)["norms"]
            found.append(by_lengths / by_lengths.sum())
    shares = np.mean(found, 0)
    return [
        {
            "attention": a,
            "others": b,
            "paths": str(math.comb(first, a) * math.comb(others, b)),
            "share": float(shares[a, b]),
        }
        for a in range(first + 1)
        for b in range(others + 1)
    ], ""


# Effects of branches


def _add_effects(frame: pd.DataFrame, effects: BranchEffects) -> None:
    """Columns of the effects of branches; NaN for a block that cannot be deleted."""
    places = {block: place for place, block in enumerate(effects.blocks)}
    at = [places.get(block, -1) for block in frame["block"]]
    for way in WAYS:
        for end, values in zip(("", "_low", "_high"), _means(effects, way), strict=True):
            frame[f"{way}{end}"] = np.append(values, np.nan)[at]


def _means(effects: BranchEffects, way: str) -> Estimates:
    values = effects.values[way].numpy()
    sums = np.stack([by_part(np.nan_to_num(values)), by_part(np.isfinite(values))], 1)
    return _ratio(sums)


def _ratio(sums: Array) -> Estimates:
    """The ratio of two sums (parts, 2, ...), from the parts where the second is of something.

    There may be none, as of effects with gates held where a part is not linear with them.
    """
    seen = sums[sums[:, 1].reshape(len(sums), -1).any(1)]
    if not len(seen):
        return Estimates(*[np.full(sums.shape[2:], np.nan)] * 3)

    def ratio(total: Array) -> Array:
        with np.errstate(invalid="ignore", divide="ignore"):
            found: Array = total[0] / total[1]
            return found

    return jackknife(ratio, seen)


def _agreement(effects: BranchEffects) -> list[dict[str, Any]]:
    """How each linearisation agrees with deletion, over blocks and over rows of each."""
    real = effects.values["deleted"].numpy()
    rows = []
    for way in WAYS[:-1]:
        said = effects.values[way].numpy()
        rank = spearman_interval(_means(effects, way).value, _means(effects, "deleted").value, 0)
        compared = np.isfinite(real) & np.isfinite(said)
        both = np.stack([(real - said) ** 2, real**2])
        missed = _ratio(by_part(np.where(compared, both, 0).sum(1)))
        rows.append(
            {
                "way": way,
                "spearman": known(rank.value), "spearman_low": known(rank.low),
                "spearman_high": known(rank.high),
                "explained": known(1 - float(missed.value)),
                "explained_low": known(1 - float(missed.high)),
                "explained_high": known(1 - float(missed.low)),
            }
        )  # fmt: skip
    return rows
