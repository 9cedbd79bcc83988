"""The published facts, derived again from the authors' raw results.

    python -m ensembles.reproduction.derivation FOLDER

prints what ``published.toml`` holds below its line of dashes. FOLDER holds the authors' results
(github.com/gcr/fb.resnet.torch-lesion-study) as two tables: ``veit2016_single_deletion.csv`` with
the columns network, block (empty: intact), top1_error, images; and the lesions of several blocks
``veit2016_lesions_preact_resnet110_cifar10.csv`` with lesion, count, blocks, kendall_tau,
top1_error, images. Beside them lies what Gavrikov et al. published of layers with fresh weights,
``gavrikov2024_layer_criticality_resnet50_imagenet.csv`` as they wrote it.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ensembles.reproduction.comparisons import TAU_STEP
from ensembles.reproduction.criteria import quartiles
from ensembles.reproduction.published_layers import FILE, layer_facts, read_layers
from ensembles.statistics import rank_correlations

__all__ = ["SINGLES", "SWEEPS", "derive", "toml_text"]

SINGLES = "veit2016_single_deletion.csv"
SWEEPS = "veit2016_lesions_preact_resnet110_cifar10.csv"
_CURVES = "_cifar10"  # the networks of which each error is kept end with this
_DIGITS = 6


def derive(folder: str | Path) -> dict[str, Any]:
    """Compute every number that is taken from the authors' raw results.

    Args:
        folder: Where their tables lie.

    Returns:
        ``single_deletion`` by network (``intact``, ``blocks``, ``images``, quartiles and extremes
        of the error after one deletion; on CIFAR-10 the errors themselves), ``sweeps`` by kind of
        lesion (quartiles by number of blocks, for reorderings also by Kendall tau; Spearman's rank
        correlation with the error), and ``layer_criticality``
        (:func:`ensembles.reproduction.published_layers.layer_facts`). Errors are shares.
    """
    singles = pd.read_csv(Path(folder) / SINGLES)
    sweeps = pd.read_csv(Path(folder) / SWEEPS).rename(columns={"top1_error": "error"})
    networks = singles.groupby("network", sort=False)
    return {
        "single_deletion": {str(name): _singles(str(name), group) for name, group in networks},
        "sweeps": {str(kind): _sweep(sweeps[sweeps["lesion"] == kind]) for kind in _kinds(sweeps)},
        "layer_criticality": layer_facts(read_layers(Path(folder) / FILE)),
    }


def _kinds(sweeps: pd.DataFrame) -> list[str]:
    return sorted(set(sweeps["lesion"]))


def _singles(name: str, group: pd.DataFrame) -> dict[str, Any]:
    cut = group[group["block"].notna()].sort_values("block")
    error = cut["top1_error"]
    found: dict[str, Any] = {"images": int(group["images"].iloc[0]), "blocks": len(cut)}
    intact = group.loc[group["block"].isna(), "top1_error"]
    if len(intact):
        found["intact"] = float(intact.iloc[0])
    levels = {"lowest": 0.0, "q1": 0.25, "median": 0.5, "q3": 0.75, "highest": 1.0}
    found |= {level: _rounded(error.quantile(share)) for level, share in levels.items()}
    if name.endswith(_CURVES):
        found["errors"] = [_rounded(value) for value in error]
    return found


def _sweep(frame: pd.DataFrame) -> dict[str, Any]:
    kind, kinds = str(frame["lesion"].iloc[0]), ["count"]
    found: dict[str, Any] = {"lesions": len(frame), "by_count": _columns(quartiles(frame, kind))}
    if (frame["lesion"] == "reorder").all():
        found["by_tau"] = {"step": TAU_STEP, **_columns(quartiles(frame, kind, "tau"))}
        kinds.append("kendall_tau")
    table = rank_correlations(frame)
    for kind in kinds:
        row = table[(table["variable"] == kind) & (table["coefficient"] == "spearman")]
        found[f"spearman_{kind}"] = _rounded(row["value"].iloc[0])
    return found


def _columns(table: pd.DataFrame) -> dict[str, list[float]]:
    return {
        str(name): [int(v) if float(v).is_integer() and name in ("count", "n") else _rounded(v)
                    for v in table[name]]
        for name in table.columns
        if name not in ("lesion", "nonfinite")
    }  # fmt: skip


def _rounded(value: Any) -> float:
    return float(np.round(value, _DIGITS))


def toml_text(facts: Mapping[str, Any], prefix: str = "") -> str:
    """Write nested tables of numbers and lists as TOML."""
    lines = [
        f"{key} = {json.dumps(value)}"
        for key, value in facts.items()
        if not isinstance(value, Mapping)
    ]
    text = f"[{prefix}]\n" + "\n".join(lines) + "\n\n" if lines else ""
    for key, value in facts.items():
        if isinstance(value, Mapping):
            text += toml_text(value, f"{prefix}.{key}" if prefix else key)
    return text


if __name__ == "__main__":
    print(toml_text(derive(sys.argv[1])), end="")
