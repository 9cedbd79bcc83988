"""Robustness from 20 to 110 layers."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from ensembles.plots.quartiles import error_quartiles
from ensembles.reproduction.criteria import alike, intact_error, singles, spread
from ensembles.reproduction.experiment import Comparison, Experiment, Part, Parts, Picture
from ensembles.reproduction.judgements import Claim, Finding, Frames
from ensembles.reproduction.named import NotMeasured
from ensembles.reproduction.published import published_depths, published_network, published_singles
from ensembles.statistics import coefficient, median_interval
from ensembles.studies import Sweep

if TYPE_CHECKING:
    from ensembles.reproduction.bench import Bench

__all__ = ["Depth", "add_depths"]

_DEPTHS = (20, 32, 44, 56, 110)
_FEWEST = 3


class Depth(Experiment):
    """Every single block is deleted in turn, from networks of several depths."""

    key = "depth"
    title = "Robustness and depth"
    about = (
        "Each block is deleted in turn from networks of 20 to 110 layers. The text does not speak "
        "of it; the raw results show that the deeper the network, the less one block matters.",
    )

    def parts(self, bench: Bench) -> Parts:
        """See the base class."""
        parts = Parts()
        family = re.sub(r"\d+$", "", bench.request.model)
        for depth in _DEPTHS:
            with parts.part(str(depth)):
                network = bench.network(f"{family}{depth}")
                parts[str(depth)] = Part(network, bench.images, bench.sweep(Sweep()))
        return parts

    def frames(self, measured: Frames, bench: Bench) -> Frames:
        """See the base class."""
        add_depths(measured)
        return measured

    def claims(self) -> tuple[Claim, ...]:
        """See the base class."""
        theirs = published_depths().set_index("depth")["median"]
        medians = ", ".join(f"{depth}: {100 * median:.2f} %" for depth, median in theirs.items())
        return (
            Claim(
                "The deeper the network, the less one block matters (raw results; not in the text)",
                "Spearman's rank correlation of the median error with depth is negative, and the "
                "bootstrap interval of the deepest network's median lies below the shallowest "
                "one's",
                f"medians {medians}",
                ("depths",),
                _grows_with_depth,
            ),
            Claim(
                "At each depth the same blocks matter in our network as in theirs",
                "the bootstrap interval over blocks of Spearman's rank correlation of our errors "
                "with those published for the same depth lies above 0, at each depth",
                "1 by definition",
                ("depths",),
                _same_blocks_at_each_depth,
            ),
        )

    def draw(self, frames: Frames) -> list[Picture]:
        """See the base class."""
        if "depths" not in frames:
            return []
        ours = frames["depths"].copy()
        ours.attrs = {**ours.attrs, "model": "this run"}
        axes = error_quartiles(ours, published_depths(), x="depth", xlabel="Depth (layers)")
        caption = (
            "Error after one deletion, median and quartiles over blocks, by depth: "
            f"{frames['depths'].attrs['model']} of this run, over the published medians and "
            "quartiles for CIFAR-10 (raw results of Veit et al. 2016)."
        )
        return [Picture(axes.figure, caption)]  # type: ignore[arg-type]

    def compare(self, frames: Frames) -> list[Comparison]:
        """See the base class."""
        if "depths" not in frames:
            return []
        theirs = published_depths()[["depth", "intact", "median"]]
        names = {"intact": "published intact", "median": "published median"}
        table = frames["depths"].merge(theirs.rename(columns=names), on="depth", how="left")
        shares = [name for name in table.columns if name not in ("depth", "blocks")]
        table = table.assign(**{name: 100 * table[name] for name in shares})
        return [
            Comparison(
                table.rename(columns={name: f"{name} %" for name in shares}),
                "Error after one deletion by depth; low and high: bootstrap interval of the median "
                "over blocks",
            )
        ]


def add_depths(frames: Frames) -> None:
    """Add the table ``depths``: a row for each depth, or the reason why there are too few."""
    known = {name: frame for name, frame in frames.items() if name.isdigit()}
    if len(known) < _FEWEST:
        reasons = [reason for name, reason in frames.missing.items() if name.isdigit()]
        frames.missing["depths"] = NotMeasured(
            f"{len(known)} of {len(_DEPTHS)} depths trained, {_FEWEST} are needed",
            "; ".join(reason.command for reason in reasons if reason.command),
        )
        return
    rows = []
    for name, frame in known.items():
        errors = singles(frame)["error"].dropna()
        median, low, high = median_interval(errors)
        rows.append({"depth": int(name), "blocks": len(errors), "intact": intact_error(frame),
                     "q1": errors.quantile(0.25), "median": median, "q3": errors.quantile(0.75),
                     "low": low, "high": high})  # fmt: skip
    table = pd.DataFrame(rows)
    first = next(iter(known.values()))
    models = ", ".join(str(frame.attrs["model"]) for frame in known.values())
    table.attrs = {**first.attrs, "model": models}
    frames["depths"] = table


def _grows_with_depth(frames: Frames) -> Finding:
    table = frames["depths"].sort_values("depth")
    listed = ", ".join(
        f"{int(row['depth'])}: {100 * row['median']:.2f} %" for _, row in table.iterrows()
    )
    rho = coefficient(table["depth"], table["median"])
    first, last = table.iloc[0], table.iloc[-1]
    return Finding(
        f"medians {listed}; rho = {rho:.2f}",
        f"shallowest {spread(first['low'], first['high'])}, "
        f"deepest {spread(last['low'], last['high'])}",
        bool(np.isfinite(rho) and rho < 0 and last["high"] < first["low"]),
    )


def _same_blocks_at_each_depth(frames: Frames) -> Finding:
    found = {}
    for depth in map(int, frames["depths"]["depth"]):
        network = published_network(depth)
        theirs = None if network is None else published_singles(network)
        if theirs is not None and len(singles(frames[str(depth)])) == len(singles(theirs)):
            found[depth] = alike(frames[str(depth)], theirs)
    if not found:
        raise NotMeasured("no network has as many blocks as a published one of its depth")
    return Finding(
        ", ".join(f"{depth}: rho = {one.value:.3f}" for depth, one in found.items()),
        ", ".join(f"{depth}: {one.low:.3f} to {one.high:.3f}" for depth, one in found.items()),
        all(one.low > 0 for one in found.values()),
    )
