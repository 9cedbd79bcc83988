"""Effective paths alone, stochastic depth, dependence on depth: networks trained in other ways."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd
from scipy.stats import spearmanr, wilcoxon

from ensembles.lesions import intact, single_deletions
from ensembles.plots.lesions import error_by_block
from ensembles.plots.quartiles import error_quartiles
from ensembles.plots.style import new_figure
from ensembles.reproduction.bench import Bench
from ensembles.reproduction.experiment import (
    Claim,
    Comparison,
    Experiment,
    Finding,
    Frames,
    Picture,
)
from ensembles.reproduction.intervals import difference_of_shares, median_interval
from ensembles.reproduction.published import (
    RESIDUAL,
    facts,
    published_depths,
    published_network,
    published_singles,
)
from ensembles.reproduction.shapes import alike, intact_error, labelled, points, singles, spread
from ensembles.reproduction.unmeasured import NotMeasured

__all__ = ["DEPTH", "EFFECTIVE_ONLY", "STOCHASTIC_DEPTH", "add_depths"]

_DEPTHS = (20, 32, 44, 56, 110)
_PUBLISHED_STOCHASTIC = "stochastic_depth110_cifar10"
_LEAST_DEPTHS = 3


def _measure_effective_only(bench: Bench) -> Frames:
    frames = Frames()
    for name in ("paths only", "ordinary"):
        with frames.part(name):
            subject = bench.network(bench.setting.model, name)
            frames[name] = bench.lesions(subject, [intact()], f"error of the network, {name}")
    return frames


def _no_worse(frames: Frames) -> Finding:
    whole = [frames[name].iloc[0] for name in ("paths only", "ordinary")]
    wrong = tuple(int(row["total"] - row["correct"]) for row in whole)
    totals = tuple(int(row["total"]) for row in whole)
    difference, low, high = difference_of_shares((wrong[0], wrong[1]), (totals[0], totals[1]))
    return Finding(
        f"{100 * wrong[0] / totals[0]:.2f} % against {100 * wrong[1] / totals[1]:.2f} % "
        f"({points(difference)} points)",
        f"difference {spread(low, high)}",
        low <= 0,
    )


_ONLY = facts()["text"]["paths_only"]
EFFECTIVE_ONLY = Experiment(
    "effective-paths",
    "Training on effective paths only",
    (
        "A network whose every training step saw a random 23 of its 54 blocks, so that only short "
        "paths were trained, against one trained as usual; both are tested whole.",
    ),
    (
        Claim(
            "Training on effective paths only gives no worse network",
            "Newcombe's 95 % interval of the difference of the errors, paths only less ordinary, "
            "does not lie above 0",
            f"{100 * _ONLY['paths_only_error']:.2f} % against "
            f"{100 * _ONLY['ordinary_error']:.2f} % "
            f"({points(_ONLY['paths_only_error'] - _ONLY['ordinary_error'])} points)",
            ("paths only", "ordinary"),
            _no_worse,
        ),
    ),
    _measure_effective_only,
    lambda frames: [],
)


def _measure_stochastic(bench: Bench) -> Frames:
    frames = Frames()
    for name in ("ordinary", "stochastic depth"):
        with frames.part(name):
            subject = bench.network(bench.setting.model, name)
            frames[name] = bench.lesions(
                subject, single_deletions(len(subject.net)), f"deleting each block, {name}"
            )
    return frames


def _more_robust(frames: Frames) -> Finding:
    rises = {
        name: singles(frames[name])["error"] - intact_error(frames[name])
        for name in ("ordinary", "stochastic depth")
    }
    both = pd.concat(rises, axis=1).dropna()
    if len(both) < 5:
        raise NotMeasured("fewer than five blocks in common")
    difference = both["stochastic depth"] - both["ordinary"]
    middle, low, high = median_interval(difference)
    if (difference == 0).all():
        return Finding("no difference at any block", "", False)
    test = wilcoxon(difference, alternative="less")
    medians = (
        f"median rise {points(both['stochastic depth'].median())} points against "
        f"{points(both['ordinary'].median())}"
    )
    return Finding(
        f"{medians}; p = {test.pvalue:.2g}",
        f"difference by block {points(middle)}, {spread(low, high)}",
        bool(test.pvalue < 0.05),
    )


def _same_blocks(frames: Frames) -> Finding:
    theirs = published_singles(_PUBLISHED_STOCHASTIC)
    ours = frames["stochastic depth"]
    blocks, known = len(singles(ours)), len(singles(theirs))
    if blocks != known:
        raise NotMeasured(f"published for {known} blocks, this network has {blocks}")
    value, low, high = alike(ours, theirs)
    return Finding(f"rho = {value:.3f} over {known} blocks", f"{low:.3f} to {high:.3f}", low > 0)


def _published_robustness() -> str:
    known = facts()["single_deletion"]
    rises = [known[n]["median"] - known[n]["intact"] for n in (_PUBLISHED_STOCHASTIC, RESIDUAL)]
    return f"median rise {points(rises[0])} points against {points(rises[1])}"


def _draw_stochastic(frames: Frames) -> list[Picture]:
    if len(frames) < 2:
        return []
    theirs = [published_singles(RESIDUAL), published_singles(_PUBLISHED_STOCHASTIC)]
    figure, [ax] = new_figure(height=3.2)
    ours = [labelled(frames[name], f"ours, {name}") for name in ("ordinary", "stochastic depth")]
    error_by_block(*ours, *theirs, ax=ax)
    models = " and ".join(str(frame.attrs["model"]) for frame in frames.values())
    caption = (
        f"Error after deleting each block of {models}, trained as usual and with stochastic depth, "
        f"measured in this run on {frames['ordinary'].attrs['dataset']}, over the curves published "
        "for CIFAR-10 (raw results of Veit et al. 2016, labelled as published). Published: "
        f"{_published_robustness()}."
    )
    return [Picture(figure, caption)]


STOCHASTIC_DEPTH = Experiment(
    "stochastic-depth",
    "Figure 7: stochastic depth against ordinary training",
    ("Each block is deleted in turn, from a network trained with stochastic depth and from one "
     "trained as usual.",),
    (
        Claim(
            "Stochastic depth makes a network still more robust to deletions",
            "a one-sided Wilcoxon test of the rises of the error, block by block, gives p < 0.05",
            _published_robustness(),
            ("ordinary", "stochastic depth"),
            _more_robust,
        ),
        Claim(
            "With stochastic depth the same blocks matter in our network as in theirs",
            "the bootstrap interval over blocks of Spearman's rank correlation of our errors with "
            "theirs lies above 0",
            "1 by definition",
            ("stochastic depth",),
            _same_blocks,
        ),
    ),
    _measure_stochastic,
    _draw_stochastic,
)  # fmt: skip


def _measure_depth(bench: Bench) -> Frames:
    frames = Frames()
    family = re.sub(r"\d+$", "", bench.setting.model)
    for depth in _DEPTHS:
        with frames.part(str(depth)):
            subject = bench.network(f"{family}{depth}")
            frames[str(depth)] = bench.lesions(
                subject, single_deletions(len(subject.net)), f"deleting each block, depth {depth}"
            )
    add_depths(frames)
    return frames


def add_depths(frames: Frames) -> None:
    """Add the table ``depths``: a row for each depth, or the reason why there are too few."""
    known = {name: frame for name, frame in frames.items() if name.isdigit()}
    if len(known) < _LEAST_DEPTHS:
        reasons = [reason for name, reason in frames.missing.items() if name.isdigit()]
        frames.missing["depths"] = NotMeasured(
            f"{len(known)} of {len(_DEPTHS)} depths trained, {_LEAST_DEPTHS} are needed",
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
    rho = float(spearmanr(table["depth"], table["median"]).statistic)
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
        ", ".join(f"{depth}: rho = {value:.3f}" for depth, (value, _, _) in found.items()),
        ", ".join(f"{depth}: {low:.3f} to {high:.3f}" for depth, (_, low, high) in found.items()),
        all(low > 0 for _, low, _ in found.values()),
    )


def _draw_depth(frames: Frames) -> list[Picture]:
    if "depths" not in frames:
        return []
    ours = frames["depths"].copy()
    ours.attrs = {**ours.attrs, "model": "this run"}
    axes = error_quartiles(ours, published_depths(), x="depth", xlabel="Depth (layers)")
    caption = (
        f"Error after one deletion, median and quartiles over blocks, by depth: "
        f"{frames['depths'].attrs['model']} of this run, over the published medians and quartiles "
        "for CIFAR-10 (raw results of Veit et al. 2016)."
    )
    return [Picture(axes.figure, caption)]  # type: ignore[arg-type]


def _compare_depths(frames: Frames) -> list[Comparison]:
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


def _published_depths_in_words() -> str:
    table = published_depths()
    return "medians " + ", ".join(
        f"{int(row['depth'])}: {100 * row['median']:.2f} %" for _, row in table.iterrows()
    )


DEPTH = Experiment(
    "depth",
    "Robustness and depth",
    (
        "Each block is deleted in turn from networks of 20 to 110 layers. The text does not speak "
        "of it; the raw results show that the deeper the network, the less one block matters.",
    ),
    (
        Claim(
            "The deeper the network, the less one block matters (raw results; not in the text)",
            "Spearman's rank correlation of the median error with depth is negative, and the "
            "bootstrap interval of the deepest network's median lies below the shallowest one's",
            _published_depths_in_words(),
            ("depths",),
            _grows_with_depth,
        ),
        Claim(
            "At each depth the same blocks matter in our network as in theirs",
            "the bootstrap interval over blocks of Spearman's rank correlation of our errors with "
            "those published for the same depth lies above 0, at each depth",
            "1 by definition",
            ("depths",),
            _same_blocks_at_each_depth,
        ),
    ),
    _measure_depth,
    _draw_depth,
    _compare_depths,
)
