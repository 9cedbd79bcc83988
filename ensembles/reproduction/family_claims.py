"""What is claimed of deep and of wide networks, each with the criterion that decides it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import pandas as pd

from ensembles.reproduction.criteria import points, spread
from ensembles.reproduction.judgements import Claim, Finding, Frames
from ensembles.reproduction.named import NotMeasured
from ensembles.statistics import Estimate, difference_of_means, rank_correlation

__all__ = ["MARGIN", "MEMORISED", "family_claims"]

MARGIN = 0.01
"""What an error may be greater by for a network to rival another."""
MEMORISED = 0.005
"""The error on the training images up to which they count as memorised."""

_RIVAL_DEPTH = 16
_WELCH = "Welch's 95 % interval over seeds"
_RANKS = "with its 95 % interval (Bonett and Wright) over networks"


def family_claims(residual: str = "preresnet", plain: str = "plain") -> tuple[Claim, ...]:
    """The claims.

    Args:
        residual: Key of the family of residual networks.
        plain: Key of the one without shortcuts.
    """
    return (*_of_depth(residual), *_of_blocks(residual), *_of_others(residual, plain))


def _of_depth(residual: str) -> tuple[Claim, ...]:
    return (
        _claim(
            "At equal numbers of parameters the deeper residual network errs less",
            f"Spearman's rank correlation of error and depth {_RANKS}, lies below 0",
            "deeper is better (He et al. 2015: 8.75 % at 20 layers to 6.43 % at 110, of equal "
            "widths, not of equal size)",
            partial(_falls, residual, "error"),
        ),
        _claim(
            "The gain ends at some depth",
            f"there is a gain: the error of the shallowest less that of the best depth, {_WELCH}, "
            "lies above 0; and it ends: the same of the last depth but one less the last does not",
            "at a fixed number of parameters many layers are not always best (Vinyals and Morgan "
            "2013)",
            partial(_ends, residual),
            "speech",
        ),
        _claim(
            "Wide and shallow residual networks rival thin and deep ones",
            f"the error of the depth nearest to 16 less that of the greatest depth is, with the "
            f"upper end of {_WELCH}, below one point",
            "WRN-16-8 (11.0 M) 4.27 %, pre-activation ResNet-1001 (10.2 M) 4.92 % (Zagoruyko and "
            "Komodakis 2016)",
            partial(_rivals, residual),
        ),
        _claim(
            "Of networks that have memorised the training images, the wider generalise worse",
            f"of those that err on at most 0.5 % of them, Spearman's rank correlation of the error "
            f"on test images with the width {_RANKS}, lies above 0",
            "wide and shallow networks memorise, and generalise worse",
            partial(_memorised, residual),
        ),
    )


def _of_blocks(residual: str) -> tuple[Claim, ...]:
    return (
        _claim(
            "At equal numbers of parameters one block matters less in a deeper network",
            "Spearman's rank correlation of depth and the median rise of the error after one "
            f"deletion {_RANKS}, lies below 0",
            "of equal widths: medians of 44.7 % at 20 layers to 6.5 % at 110 (raw results of Veit "
            "et al. 2016)",
            partial(_falls, residual, "median_rise"),
        ),
        _claim(
            "The deeper the network, the smaller the part of its depth that is effective",
            "Spearman's rank correlation of depth and the median length of the gradient's paths "
            f"(RMS norm, in weight layers) over the depth {_RANKS}, lies below 0",
            "95 % of the gradient in paths of 5 to 17 of 54 blocks (Veit et al. 2016)",
            partial(_falls, residual, "effective_part"),
        ),
    )


def _of_others(residual: str, plain: str) -> tuple[Claim, ...]:
    return (
        _claim(
            "Without shortcuts great depth does harm, with them it does not",
            f"the error of the greatest depth less that of the shallowest, {_WELCH}, lies above 0 "
            "for plain networks, and does not for residual ones",
            "plain networks of 56 layers err more than those of 20, residual ones less (He et al. "
            "2015, figure 6)",
            partial(_degrades, residual, plain),
        ),
        _claim(
            "One wide hidden layer errs more than five of the same number of parameters",
            f"of fully connected networks, the error of 2 layers less that of 6, {_WELCH}, lies "
            "above 0",
            "one hidden layer of 3,772 units errs more than five of 2,048 (Seide, Li and Yu 2011, "
            "speech)",
            _layers,
            "speech",
        ),
    )


def _claim(
    text: str,
    criterion: str,
    published: str,
    judge: Callable[[pd.DataFrame], Finding],
    data: str = "cifar10",
) -> Claim:
    def judged(frames: Frames) -> Finding:
        return judge(_networks(frames))

    return Claim(text, criterion, published, ("networks",), judged, data)


def _networks(frames: Frames) -> pd.DataFrame:
    table = frames["networks"]
    return table.assign(effective_part=table["rms_median"] / table["depth"])


def _family(networks: pd.DataFrame, key: str, fewest: int = 2) -> pd.DataFrame:
    """The networks of a family.

    Raises:
        NotMeasured: They are of fewer depths than are needed.
    """
    found = networks[networks["family"] == key]
    depths = found["depth"].nunique()
    if depths < fewest:
        raise NotMeasured(f"{depths} depths of {key} measured, {fewest} are needed")
    return found


def _between(networks: pd.DataFrame, first: int, second: int) -> Estimate:
    """Error of one depth less that of another.

    Raises:
        NotMeasured: Of one of them there are fewer than two networks.
    """
    one, other = (networks.loc[networks["depth"] == depth, "error"] for depth in (first, second))
    for depth, errors in ((first, one), (second, other)):
        if len(errors) < 2:
            raise NotMeasured(f"{len(errors)} network of depth {depth}; two seeds are needed")
    return difference_of_means(one, other)


def _means(networks: pd.DataFrame, column: str = "error") -> pd.Series[float]:
    return networks.groupby("depth")[column].mean()


def _listed(networks: pd.DataFrame, column: str) -> str:
    """Means by depth in words."""
    scale = (100, " %") if column != "effective_part" else (100, " % of the depth")
    return ", ".join(
        f"{depth}: {scale[0] * mean:.2f}{scale[1]}"
        for depth, mean in _means(networks, column).items()
    )


def _falls(key: str, column: str, networks: pd.DataFrame) -> Finding:
    table = _family(networks, key, 3)
    value, low, high = rank_correlation(table["depth"], table[column])
    if np.isnan(low):
        raise NotMeasured(f"{len(table)} networks, or all alike: no rank correlation")
    return Finding(
        f"rho = {value:.2f} over {len(table)} networks; {_listed(table, column)}",
        f"{low:.2f} to {high:.2f}",
        bool(high < 0),
    )


def _ends(key: str, networks: pd.DataFrame) -> Finding:
    table = _family(networks, key, 3)
    means = _means(table)
    depths = sorted(int(depth) for depth in table["depth"].unique())
    best = depths[int(means.to_numpy().argmin())]
    last = _between(table, depths[-2], depths[-1])
    told = (
        f"{_listed(table, 'error')}; from {depths[-2]} to {depths[-1]} {points(last.value)} points"
    )
    if best == depths[0]:
        return Finding(f"no gain: {told}", f"last gain {spread(last.low, last.high)}", False)
    gain = _between(table, depths[0], best)
    return Finding(
        f"best at {best}, {points(gain.value)} points better than at {depths[0]}; {told}",
        f"gain {spread(gain.low, gain.high)}, last gain {spread(last.low, last.high)}",
        bool(gain.low > 0 and not last.low > 0),
    )


def _rivals(key: str, networks: pd.DataFrame) -> Finding:
    table = _family(networks, key)
    depths = sorted(int(depth) for depth in table["depth"].unique())
    shallow = min(depths[:-1], key=lambda depth: abs(depth - _RIVAL_DEPTH))
    found = _between(table, shallow, depths[-1])
    return Finding(
        f"{shallow} layers {points(found.value)} points against {depths[-1]}",
        spread(found.low, found.high),
        bool(found.high < MARGIN),
    )


def _memorised(key: str, networks: pd.DataFrame) -> Finding:
    table = _family(networks, key)
    known = table[table["train_error"] <= MEMORISED]
    value, low, high = rank_correlation(known["width"], known["error"])
    if np.isnan(low):
        raise NotMeasured(
            f"{len(known)} of {len(table)} networks have memorised the training images, or all of "
            "them err alike: no rank correlation"
        )
    return Finding(
        f"{len(known)} of {len(table)} networks have memorised them; rho = {value:.2f}",
        f"{low:.2f} to {high:.2f}",
        bool(low > 0),
    )


def _degrades(residual: str, plain: str, networks: pd.DataFrame) -> Finding:
    found = {}
    for key in (plain, residual):
        table = _family(networks, key)
        found[key] = _between(table, int(table["depth"].max()), int(table["depth"].min()))
    return Finding(
        ", ".join(f"{key} {points(one.value)} points" for key, one in found.items()),
        ", ".join(f"{key} {spread(one.low, one.high)}" for key, one in found.items()),
        bool(found[plain].low > 0 and not found[residual].low > 0),
    )


def _layers(networks: pd.DataFrame) -> Finding:
    table = _family(networks, "perceptron")
    found = _between(table, 2, 6)
    return Finding(
        f"{_listed(table, 'error')}; {points(found.value)} points",
        spread(found.low, found.high),
        bool(found.low > 0),
    )
