"""The tables of influence: proxies and damage side by side, and how they go together."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from ensembles.analyses.base import Run
from ensembles.analyses.influence_options import DAMAGES, PROXIES, InfluenceOptions
from ensembles.analyses.lesion_means import LesionMeans
from ensembles.analyses.stream import Stream, compared_with
from ensembles.analyses.stream_walk import walked
from ensembles.decomposition import Block, Decomposition
from ensembles.errors import LesionError
from ensembles.lesions import Delete, Intact, Lesion
from ensembles.lesions.structure import Structure
from ensembles.statistics import spearman_interval

__all__ = ["influence_frame"]

_METRICS = ("kl", "kl_folds", "agreement")
_CERTAIN = ("loss_rise", "accuracy_fall", "kl")  # with an interval over rows
_DAMAGE = (
    *(f"{name}{end}" for name in _CERTAIN for end in ("", "_low", "_high")), "agreement",
)  # fmt: skip
_KEPT = (
    "model", "dataset", "task", "observation", "blocks", "transitions", "adapted", "failed", "runs",
)  # fmt: skip


def influence_frame(
    net: Decomposition, data: Any, options: InfluenceOptions, run: Run
) -> pd.DataFrame:
    """Walk over the intact network, delete every block, and lay both side by side."""
    stream = walked(net, data, run, options.cosine, options.span)
    deleted = _deletions(net, options.span)
    means = LesionMeans.measured(net, data, deleted.lesions.values(), run, metrics=_METRICS)
    swept, damage = means.frame, _damage(means)
    frame = pd.DataFrame([_row(block, stream, deleted, damage, options.span) for block in net])
    frame.attrs = {name: swept.attrs[name] for name in _KEPT if name in swept.attrs}
    frame.attrs |= {
        "observations": int(swept["total"].iloc[0]),
        "cosine": options.cosine,
        "rows": stream.rows,
        "correlations": _correlations(frame, options),
        "provenance": {**swept.attrs["provenance"], **vars(options)},
    }
    return frame


# Damage


@dataclass(frozen=True)
class _Deletions:
    """What is deleted.

    Attributes:
        lesions: The deletions, by their first and last block.
        refused: Why a deletion has no meaning, alike.
    """

    lesions: dict[tuple[int, int], Lesion]
    refused: dict[tuple[int, int], str]


def _deletions(net: Decomposition, span: int) -> _Deletions:
    """Every block, and every span, as far as their deletion has a meaning."""
    structure, n = Structure.of(net), len(net)
    places = [(first, first) for first in range(1, n + 1)]
    if span > 1:
        places += [(first, first + span - 1) for first in range(1, n - span + 2)]
    lesions: dict[tuple[int, int], Lesion] = {}
    refused: dict[tuple[int, int], str] = {}
    for first, last in places:
        try:
            one = Delete(tuple(range(first, last + 1)))
            one.require(structure)
        except LesionError as error:
            refused[first, last] = str(error)
        else:
            lesions[first, last] = one
    return _Deletions(lesions, refused)


def _damage(means: LesionMeans) -> dict[str, dict[str, Any]]:
    """What each deletion does, by its text, with intervals over rows."""
    rows = means.frame.to_dict("records")
    intact = means.places[Intact()]
    rises = means.estimate(
        lambda loss, error: np.stack([loss - loss[intact], error - error[intact]])
    )
    away = means.estimate_kl(lambda kl: kl)
    found = {}
    for place, row in enumerate(rows):
        numbers = {
            "loss_rise": row["loss"] - rows[intact]["loss"],
            "accuracy_fall": row["error"] - rows[intact]["error"],
            "kl": row["kl"],
            "agreement": row["agreement"],
            "nonfinite": int(row["nonfinite"]),
        }
        for end in ("low", "high"):
            pair = getattr(rises, end)
            numbers |= {
                f"loss_rise_{end}": pair[0, place],
                f"accuracy_fall_{end}": pair[1, place],
                f"kl_{end}": getattr(away, end)[place],
            }
        found[row["blocks"]] = numbers
    return found


# Both


def _row(
    block: Block,
    stream: Stream,
    deleted: _Deletions,
    damage: Mapping[str, Mapping[str, Any]],
    span: int,
) -> dict[str, Any]:
    """A block's row, with the reasons for what it lacks."""
    first, means = block.index, stream.means[block.index]
    reasons = [_lacking(block, stream)]
    row: dict[str, Any] = {
        "block": first,
        "name": block.name,
        "kind": block.kind,
        "against": compared_with(block),
    }
    for name in PROXIES:
        row |= {name: means[name].value, f"{name}_se": means[name].error}
    found, reason = _found(deleted, damage, (first, first), "its deletion")
    row |= found
    reasons.append(reason)
    if span > 1:
        last = first + span - 1
        for name in ("span_influence", "span_angle"):
            row |= {name: means[name].value, f"{name}_se": means[name].error}
        found, reason = _found(deleted, damage, (first, last), f"the span {first}-{last}")
        row |= {f"span_{name}": value for name, value in found.items()}
        inside = last <= len(stream.net)
        if inside and math.isnan(means["span_influence"].value) and not reason:
            reason = f"the span {first}-{last} has no direction to compare"
        reasons.append(reason if inside else f"the span {first}-{last} leaves the network")
    row |= {
        "undefined": stream.undefined[first],
        "reason": "; ".join(dict.fromkeys(filter(None, reasons))),
    }
    return row


def _lacking(block: Block, stream: Stream) -> str:
    """Why a block lacks some of the proxies; "" where it has them all."""
    means = stream.means[block.index]
    reasons = []
    if not compared_with(block):
        sizes = " to ".join("x".join(map(str, s)) for s in (block.in_shape, block.out_shape))
        reasons.append(f"no shortcut, and the shape changes from {sizes}")
    elif not block.has_shortcut:
        reasons.append("no shortcut, so that its branch adds to nothing")
    elif not means["branch_cosine"].count:
        reasons.append("its branch, or what it is added to, is zero everywhere")
    if compared_with(block) and not means["influence"].count:
        reasons.append("its input or its output is zero everywhere")
    if any(mean.count and math.isnan(mean.value) for mean in means.values()):
        reasons.append("some values are not finite")
    return "; ".join(reasons)


def _found(
    deleted: _Deletions,
    damage: Mapping[str, Mapping[str, Any]],
    place: tuple[int, int],
    what: str,
) -> tuple[dict[str, float], str]:
    """What a deletion does, or why it is not known."""
    nothing = dict.fromkeys(_DAMAGE, math.nan)
    if place not in deleted.lesions:
        return nothing, deleted.refused.get(place, "")
    row = damage.get(deleted.lesions[place].text)
    if row is None:
        return nothing, f"{what} could not be measured"
    found = {name: float(row[name]) for name in _DAMAGE}
    if row["nonfinite"]:
        return found, f"{what} leaves {row['nonfinite']} outputs that are not finite"
    return found, ""


def _correlations(frame: pd.DataFrame, options: InfluenceOptions) -> list[dict[str, Any]]:
    """Spearman's correlation of each proxy with each damage, over the blocks that have both."""
    rows = []
    sides: list[tuple[str, tuple[str, ...]]] = [("", PROXIES)]
    if options.span > 1:
        sides.append(("span_", ("influence", "angle")))
    for prefix, proxies in sides:
        for proxy in proxies:
            for damage in DAMAGES:
                x = frame[f"{prefix}{proxy}"].to_numpy(float)
                y = _severity(frame, prefix, damage)
                both = ~pd.isna(x) & ~pd.isna(y)
                found = spearman_interval(
                    x[both], y[both], options.seed, resamples=options.resamples
                )
                names = {"proxy": f"{prefix}{proxy}", "damage": f"{prefix}{damage}"}
                numbers = {name: _plain(one) for name, one in found._asdict().items()}
                rows.append({**names, **numbers, "n": int(both.sum())})
    return rows


def _severity(frame: pd.DataFrame, prefix: str, damage: str) -> Any:
    """A damage as numbers of which more is more damage."""
    if damage == "disagreement":
        return 1 - frame[f"{prefix}agreement"].to_numpy(float)
    return frame[f"{prefix}{damage}"].to_numpy(float)


def _plain(value: float) -> float | None:
    """A number as JSON holds it."""
    return None if math.isnan(value) else float(value)
