"""What Gavrikov et al. (2024) published of 50 ResNet-50s: layers with fresh weights, one by one.

The authors give each convolution and the classifier of a trained network the weights of a fresh
one, three times, and take as the criticality of the layer 1 less the mean cosine between the
softmax outputs of the network with it and without (arXiv 2410.14470; raw results, CC BY-SA 4.0,
github.com/paulgavrikov/layer_criticality). ``published.toml`` states summaries of these results;
the rows themselves are read from the authors' file where it is given.
"""

from __future__ import annotations

import csv
import os
import re
from io import StringIO
from itertools import combinations, permutations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ensembles.bounded import read_text
from ensembles.errors import UsageError
from ensembles.reproduction.published import facts
from ensembles.statistics import coefficient

__all__ = [
    "CRITICAL", "FILE", "LEVELS", "LITTLE_CHANGE", "block_table", "differences", "found_layers",
    "layer_facts", "published_blocks", "read_layers",
]  # fmt: skip

FILE = "gavrikov2024_layer_criticality_resnet50_imagenet.csv"
"""Name of the authors' results where they lie among other raw results."""

LITTLE_CHANGE, CRITICAL = 0.1, 0.5
"""Criticality below which fresh weights have little effect, and above which they have much."""

LEVELS = {"lowest": 0.0, "q1": 0.25, "median": 0.5, "q3": 0.75, "highest": 1.0}
"""Quantiles that summaries state."""

_LARGEST = 64 << 20
_COLUMNS = ("model_id", "layer", "trial", "pred_cos_sim")
_LEFT_OUT = "resnet50_frozen_random"  # random weights from the start; the authors leave it out too
_BRANCH = re.compile(r"(layer\d\.\d+)\.conv\d")
_DIGITS = 4

Array = NDArray[np.float64]


def found_layers() -> Path | None:
    """The authors' file in the folder ``reference`` of the one that ENSEMBLES_ASSETS names."""
    folder = os.environ.get("ENSEMBLES_ASSETS")
    path = Path(folder or "") / "reference" / FILE
    return path if folder and path.is_file() else None


def read_layers(path: str | Path) -> pd.DataFrame:
    """Read the authors' results.

    Args:
        path: Their CSV file, with the columns ``model_id``, ``layer``, ``trial`` and
            ``pred_cos_sim`` at least.

    Returns:
        Columns ``network``, ``layer`` (in the order of the network), ``trial``, ``criticality``;
        without the network whose convolutions were never trained.

    Raises:
        UsageError: The file cannot be read, lacks a column, holds something else than cosines, or
            not every layer of every network as often.
    """
    what = "published criticalities"
    text = read_text(path, what, error=UsageError, most=_LARGEST, encoding="utf-8-sig")
    try:
        rows = list(csv.DictReader(StringIO(text), strict=True))
    except csv.Error as error:
        raise UsageError(f"{what} {path}: cannot be read ({error})") from error
    missing = [name for name in _COLUMNS if not rows or name not in rows[0]]
    if missing:
        raise UsageError(
            f"{what} {path}: no column {', '.join(missing)}; expected {', '.join(_COLUMNS)}"
        )
    known = pd.DataFrame(rows)[list(_COLUMNS)]
    cosine = pd.to_numeric(known["pred_cos_sim"], errors="coerce")
    if not cosine.between(-1e-6, 1 + 1e-6).all():
        raise UsageError(f"{what} {path}: pred_cos_sim holds something else than cosines, 0 to 1")
    frame = pd.DataFrame(
        {
            "network": known["model_id"],
            "layer": known["layer"].str.removeprefix("model."),
            "trial": pd.to_numeric(known["trial"], errors="coerce"),
            "criticality": 1 - cosine,
        }
    )
    frame = frame[frame["network"] != _LEFT_OUT].reset_index(drop=True)
    if not _every_layer_as_often(frame):
        raise UsageError(
            f"{what} {path}: not every layer of every network is there as often; expected the "
            "whole file of the authors"
        )
    return frame


def _every_layer_as_often(frame: pd.DataFrame) -> bool:
    """Whether each network has each layer once in each trial."""
    once = not frame.duplicated(["network", "layer", "trial"]).any()
    sizes = [frame[name].nunique() for name in ("network", "layer", "trial")]
    return once and not frame.empty and len(frame) == int(np.prod(sizes))


def layer_facts(rows: pd.DataFrame) -> dict[str, Any]:
    """Summaries of the authors' results.

    Args:
        rows: What :func:`read_layers` gives.

    Returns:
        ``networks``, ``trials``; ``layers`` and quantiles of their criticality over networks, by
        layer; the shares of layers of branches that have ``little`` effect and are ``critical``
        (over networks and layers, means of the trials); ``blocks`` with quantiles of the mean of
        the layers of their branch; ``network_difference`` and ``trial_difference`` as
        :func:`differences` gives them, means over blocks; ``with_others``, quantiles over networks
        of Spearman's rank correlation of a network's blocks with the median of the others.
    """
    layers = list(dict.fromkeys(rows["layer"]))
    by_layer = rows.pivot_table("criticality", "network", "layer", aggfunc="mean")[layers]
    blocks = block_values(rows)
    means = blocks.mean(1)
    inside = by_layer[[name for name in layers if _BRANCH.fullmatch(name)]].to_numpy(float)
    between, within = differences(blocks)
    alone = [
        coefficient(one, np.median(np.delete(means, place, 0), 0))
        for place, one in enumerate(means)
    ]
    return {
        "networks": int(rows["network"].nunique()),
        "trials": int(rows["trial"].nunique()),
        "little": _rounded((inside < LITTLE_CHANGE).mean()),
        "critical": _rounded((inside > CRITICAL).mean()),
        "network_difference": _rounded(between.mean()),
        "trial_difference": _rounded(within.mean()),
        "layers": layers,
        **_quantiles(by_layer.to_numpy(float)),
        "blocks": {"names": _block_names(rows), **_quantiles(means)},
        "with_others": {
            name: _rounded(np.quantile(alone, share)) for name, share in LEVELS.items()
        },
    }


def _quantiles(values: Array) -> dict[str, list[float]]:
    return {
        name: [_rounded(one) for one in np.quantile(values, share, axis=0)]
        for name, share in LEVELS.items()
    }


def _block_names(rows: pd.DataFrame) -> list[str]:
    found = (_BRANCH.fullmatch(name) for name in dict.fromkeys(rows["layer"]))
    return list(dict.fromkeys(one[1] for one in found if one))


def block_values(rows: pd.DataFrame) -> Array:
    """Mean criticality of the layers of each block's branch, (networks, trials, blocks)."""
    names = rows["layer"].str.extract(_BRANCH, expand=False)
    table = rows.assign(block=names).dropna(subset=["block"])
    means = table.pivot_table("criticality", ["network", "trial"], "block", aggfunc="mean")
    values = means[_block_names(rows)].to_numpy(float)
    return values.reshape(rows["network"].nunique(), rows["trial"].nunique(), -1)


def differences(values: Array) -> tuple[Array, Array]:
    """How far blocks of two networks, and of two draws of fresh weights, lie apart.

    Args:
        values: Criticality, (networks, draws, blocks), two or more of each.

    Returns:
        The mean absolute difference, by block, between two networks with different draws, over all
        such pairs; and between two draws of one network, over draws and networks.
    """
    networks, draws, _ = values.shape
    pairs = combinations(range(draws), 2)
    within = np.mean([np.abs(values[:, a] - values[:, b]) for a, b in pairs], (0, 1))
    between = np.mean(
        [
            np.abs(values[one, a] - values[other, b])
            for one, other in combinations(range(networks), 2)
            for a, b in permutations(range(draws), 2)
        ],
        0,
    )
    return between, within


def published_blocks() -> pd.DataFrame:
    """Quantiles over the published networks of the criticality of each block.

    Returns:
        Columns ``block`` (name), ``place`` (middle of its share of the depth, 0 to 1), and those of
        :data:`LEVELS`; a block's criticality is the mean over the layers of its branch.
    """
    known = facts()["layer_criticality"]["blocks"]
    frame = pd.DataFrame({"block": known["names"], "place": _places(len(known["names"]))})
    return frame.assign(**{name: known[name] for name in LEVELS})


def block_table(rows: pd.DataFrame) -> pd.DataFrame:
    """Criticality of each block of each published network.

    Args:
        rows: What :func:`read_layers` gives.

    Returns:
        Columns ``network``, ``block``, ``place``, ``criticality``, the mean over the layers of a
        block's branch and over trials.
    """
    names, networks = _block_names(rows), sorted(set(rows["network"]))
    return pd.DataFrame(
        {
            "network": np.repeat(networks, len(names)),
            "block": names * len(networks),
            "place": np.tile(_places(len(names)), len(networks)),
            "criticality": block_values(rows).mean(1).ravel(),
        }
    )


def _places(count: int) -> Array:
    """The middle of each block's share of the depth."""
    return (np.arange(count) + 0.5) / count


def _rounded(value: Any) -> float:
    return float(np.round(value, _DIGITS))
