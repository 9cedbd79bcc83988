"""Tables of networks of equal size: a row for each network, and for each depth over its seeds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from ensembles.analyses.effective_paths import effective_paths
from ensembles.reproduction.criteria import intact_error, singles
from ensembles.reproduction.family_plan import Member
from ensembles.reproduction.judgements import Frames
from ensembles.reproduction.named import NotMeasured
from ensembles.statistics import mean_interval, wilson_interval

__all__ = ["AVERAGED", "depths_table", "network_row"]

AVERAGED = (
    "error", "train_error", "median_rise", "worst_rise", "rms_median", "mean_median",
    "coherent_median", "logits_median", "cancellation", "train_seconds", "train_processor_seconds",
    "answer_seconds",
)  # fmt: skip
"""Columns whose mean over seeds is drawn and told, each with Student's interval."""

_MEASURES = ("mean", "rms", "coherent", "logits")


def network_row(member: Member, frames: Frames, times: Mapping[str, Any]) -> dict[str, Any]:
    """What was measured of one network, as a row.

    Lengths are in weight layers, so that networks of all families can be compared; the one path of
    a network without shortcuts has as many as the network.

    Args:
        member: The network.
        frames: Its tables, under its label after ``deletions``, ``training images``, ``gradient``
            and ``logits``.
        times: Further columns: what its training and its answers took.

    Raises:
        NotMeasured: A table is missing.
    """
    network, label = member.network, member.label
    deletions = frames[f"deletions {label}"]
    whole = deletions[deletions["lesion"] == "none"].iloc[0]
    errors = singles(deletions)["error"].dropna()
    intact = intact_error(deletions)
    low, high = wilson_interval(int(whole["correct"]), int(whole["total"]))
    row: dict[str, Any] = {
        "family": network.family,
        "model": network.name,
        "depth": network.depth,
        "widths": "-".join(map(str, network.widths)),
        "width": network.widths[0],
        "parameters": network.parameters,
        "seed": member.seed,
        "blocks": len(errors),
        "correct": int(whole["correct"]),
        "total": int(whole["total"]),
        "error": intact,
        "error_low": 1 - float(high),
        "error_high": 1 - float(low),
        "train_error": intact_error(frames[f"training images {label}"]),
        "median_rise": float(errors.median()) - intact,
        "worst_rise": float(errors.max()) - intact,
        **times,
    }
    return row | (_paths(label, frames) if network.residual else _one(network.depth))


def _paths(label: str, frames: Frames) -> dict[str, Any]:
    """Paths of a residual network, and the lengths that matter by each measure."""
    gradient, logits = frames[f"gradient {label}"], frames[f"logits {label}"]
    paths = sum(int(number) for number in gradient["paths"])
    row: dict[str, Any] = {"paths": paths}
    for table in (gradient, logits):
        for found in effective_paths(table).to_dict("records"):
            for end in ("first", "last", "median"):
                row[f"{found['measure']}_{end}"] = int(found[f"layers_{end}"])
            row[f"{found['measure']}_share"] = float(found["share"])
    if "rms_first" not in row:
        raise NotMeasured(f"{label}: the gradients are not finite")
    row["multiplicity"] = row["rms_share"] * float(paths)
    for name, table in (("cancellation", gradient), ("cancellation_logits", logits)):
        row[name] = next(iter(table.attrs["cancellation"].values()))
    return row


def _one(depth: int) -> dict[str, Any]:
    """A network without shortcuts has one path, through all its layers."""
    lengths = {f"{one}_{end}": depth for one in _MEASURES for end in ("first", "last", "median")}
    shares = {f"{one}_share": 1.0 for one in _MEASURES}
    return {"paths": 1, **lengths, **shares, "multiplicity": 1.0, "cancellation": 1.0,
            "cancellation_logits": 1.0}  # fmt: skip


def depths_table(networks: pd.DataFrame) -> pd.DataFrame:
    """Means over the seeds of each architecture.

    Args:
        networks: Rows of :func:`network_row`.

    Returns:
        One row for each family and depth: ``seeds``, and each of :data:`AVERAGED` with Student's
        interval over seeds, ``_low`` and ``_high``, NaN for one seed.
    """
    rows = []
    keys = ["family", "depth", "model", "widths", "width", "parameters", "blocks", "paths"]
    for values, group in networks.groupby(keys, sort=False):
        row: dict[str, Any] = dict(zip(keys, values, strict=True)) | {"seeds": len(group)}
        for name in AVERAGED:
            row[name], row[f"{name}_low"], row[f"{name}_high"] = mean_interval(group[name])
        rows.append(row)
    table = pd.DataFrame(rows).sort_values(["family", "depth"], ignore_index=True)
    table.attrs = dict(networks.attrs)
    return table
