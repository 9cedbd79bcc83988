"""What was published, as tables to hold our results against (``published.toml``)."""

from __future__ import annotations

import sys
from functools import cache
from importlib import resources
from typing import Any

import pandas as pd

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

__all__ = [
    "RESIDUAL",
    "STOCHASTIC",
    "VGG",
    "facts",
    "published_depths",
    "published_network",
    "published_quartiles",
    "published_singles",
]

RESIDUAL, VGG = "preact_resnet110_cifar10", "vgg_cifar10"
STOCHASTIC = "stochastic_depth110_cifar10"
_ORDINARY, _STOCHASTIC = "preact_resnet", "stochastic_depth"


@cache
def facts() -> dict[str, Any]:
    """Every published number that the project states, with its source."""
    path = resources.files("ensembles.reproduction") / "published.toml"
    return tomllib.loads(path.read_text(encoding="utf-8"))


def published_singles(network: str = RESIDUAL) -> pd.DataFrame:
    """The published error after each single deletion, laid out as our own tables.

    Args:
        network: ``vgg_cifar10``, or what :func:`published_network` gives.

    Returns:
        Columns ``lesion``, ``count``, ``blocks``, ``correct``, ``total``, ``error``; the intact
        network first where its error was published. ``attrs["model"]`` says "published".
    """
    known = facts()["single_deletion"][network]
    blocks = facts()["text"]["vgg"]["blocks"] if network == VGG else range(1, known["blocks"] + 1)
    rows = [("none", 0, "", known["intact"])] if "intact" in known else []
    rows += [
        ("delete", 1, str(block), error)
        for block, error in zip(blocks, known["errors"], strict=True)
    ]
    frame = pd.DataFrame(rows, columns=["lesion", "count", "blocks", "error"])
    frame["total"] = known["images"]
    frame["correct"] = (frame["total"] * (1 - frame["error"])).round().astype(int)
    count = len(known["errors"])
    frame.attrs = {
        "model": _name(network),
        "chance": 0.9,
        "blocks": count,
        "transitions": [] if network == VGG else [count // 3 + 1, 2 * count // 3 + 1],
    }
    return frame


def _name(network: str) -> str:
    if network == VGG:
        return "published VGG"
    depth = network.removeprefix(_ORDINARY).removeprefix(_STOCHASTIC).removesuffix("_cifar10")
    how = ", stochastic depth" if network.startswith(_STOCHASTIC) else ""
    return f"published ResNet-{depth}{how}"


def published_network(depth: int, stochastic: bool = False) -> str | None:
    """Name of the published CIFAR-10 network of a depth, or ``None`` where there is none.

    Args:
        depth: Layers.
        stochastic: Trained with stochastic depth.
    """
    name = f"{_STOCHASTIC if stochastic else _ORDINARY}{depth}_cifar10"
    return name if name in facts()["single_deletion"] else None


def published_quartiles(kind: str, by: str = "count") -> pd.DataFrame:
    """Published quartiles of the error by the size of the lesion, for the ResNet-110.

    Args:
        kind: ``delete``, ``duplicate`` or ``reorder``.
        by: ``count``, or for ``reorder`` ``tau``.

    Returns:
        Columns ``count`` or ``tau``, ``n``, ``q1``, ``median``, ``q3``.
    """
    known = facts()["sweeps"][kind][f"by_{by}"]
    frame = pd.DataFrame({name: values for name, values in known.items() if name != "step"})
    frame.attrs = {"model": _name(RESIDUAL)}
    return frame


def published_depths(stochastic: bool = False) -> pd.DataFrame:
    """Published medians of the error after one deletion, by depth of the network.

    Args:
        stochastic: Those of networks trained with stochastic depth.

    Returns:
        Columns ``depth`` (layers), ``blocks``, ``intact``, ``q1``, ``median``, ``q3``.
    """
    start = _STOCHASTIC if stochastic else _ORDINARY
    rows = [
        {"depth": int(name.removeprefix(start).split("_")[0]), **known}
        for name, known in facts()["single_deletion"].items()
        if name.startswith(start) and name.endswith("_cifar10")
    ]
    frame = pd.DataFrame(rows)[["depth", "blocks", "intact", "q1", "median", "q3"]]
    frame.attrs = {"model": "published" + (", stochastic depth" if stochastic else "")}
    return frame.sort_values("depth", ignore_index=True)
