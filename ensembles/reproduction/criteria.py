"""Criteria that several experiments judge their tables by."""

from __future__ import annotations

import numpy as np
import pandas as pd

from ensembles.reproduction.judgements import Finding
from ensembles.reproduction.named import NotMeasured
from ensembles.statistics import (
    Estimate,
    curve_correlations,
    largest_step,
    mann_whitney,
    median_interval,
    rank_correlation,
    summary_by_count,
    summary_by_tau_step,
)

__all__ = [
    "COSTLIER_IN_WORDS",
    "FILLED",
    "LITTLE",
    "LITTLE_IN_WORDS",
    "SMOOTH",
    "alike",
    "chance_of",
    "correlation",
    "cost_of_one",
    "costlier",
    "intact_error",
    "labelled",
    "of_kind",
    "points",
    "quartiles",
    "singles",
    "smoothness",
    "spread",
]

LITTLE = 0.1
LITTLE_IN_WORDS = (
    "the median error after one deletion, with the upper end of its interval over blocks, exceeds "
    "the error of the intact network by less than a tenth of what guessing does"
)
COSTLIER_IN_WORDS = (
    "a one-sided Mann-Whitney test of the errors of these blocks against those of the others gives "
    "p < 0.05"
)
SMOOTH = 1 / 3
FILLED = 5


def points(share: float) -> str:
    """A difference of shares in percentage points, with its sign.

    >>> points(0.3612)
    '+36.12'
    """
    return f"{100 * share:+.2f}"


def spread(low: float, high: float) -> str:
    """An interval of shares, in per cent."""
    return f"{100 * low:.2f} to {100 * high:.2f} %"


def intact_error(frame: pd.DataFrame) -> float:
    """Error of the intact network.

    Raises:
        NotMeasured: The table does not hold it.
    """
    whole = frame.loc[frame["lesion"] == "none", "error"]
    if whole.empty:
        raise NotMeasured("the error of the intact network is not known")
    return float(whole.iloc[0])


def chance_of(frame: pd.DataFrame) -> float:
    """Error of a network that guesses.

    Raises:
        NotMeasured: The number of classes is not known.
    """
    chance = frame.attrs.get("chance")
    if not chance:
        raise NotMeasured("the number of classes is not known")
    return float(chance)


def of_kind(frame: pd.DataFrame, kind: str) -> pd.DataFrame:
    """The lesions of one kind."""
    return frame[frame["lesion"] == kind]


def singles(frame: pd.DataFrame, kind: str = "delete") -> pd.DataFrame:
    """The lesions of single blocks, indexed by block."""
    one = frame[(frame["lesion"] == kind) & (frame["count"] == 1)]
    return one.assign(block=one["blocks"].astype(int)).drop_duplicates("block").set_index("block")


def labelled(frame: pd.DataFrame, name: str) -> pd.DataFrame:
    """The table under another name, without its data set: the caption names that."""
    bare = frame.copy()
    attrs = {key: value for key, value in frame.attrs.items() if key != "dataset"}
    bare.attrs = {**attrs, "model": name}
    return bare


def quartiles(frame: pd.DataFrame, kind: str, by: str = "count") -> pd.DataFrame:
    """Quartiles of the error of one kind of lesion by its size, as the published ones are binned.

    Args:
        frame: Lesions, and possibly the intact network.
        kind: The kind.
        by: ``count``, or ``tau`` for bins of Kendall tau that end at 1, 0.975, 0.95, ...

    Returns:
        Columns ``by``, ``n``, ``q1``, ``median``, ``q3``.
    """
    chosen = of_kind(frame, kind)
    if by == "tau":
        return summary_by_tau_step(chosen)
    return summary_by_count(chosen)[["count", "n", "q1", "median", "q3"]]


def cost_of_one(frame: pd.DataFrame) -> Finding:
    """How much deleting one block raises the error, in the median over blocks.

    Holds where the upper end of the interval over blocks exceeds the error of the intact network
    by less than a tenth of what the error of guessing does.
    """
    intact, chance = intact_error(frame), chance_of(frame)
    errors = singles(frame)["error"].dropna()
    middle, low, high = median_interval(errors)
    bound = intact + LITTLE * (chance - intact)
    above = int((errors >= bound).sum())
    text = (
        f"median error {100 * middle:.2f} %, intact {100 * intact:.2f} % "
        f"({points(middle - intact)} points); {above} of {len(errors)} blocks bring it to "
        f"{100 * bound:.2f} % or more, a tenth of the difference from intact to guessing"
    )
    return Finding(text, spread(low, high), high < bound)


def costlier(frame: pd.DataFrame) -> Finding:
    """Whether blocks that change the shape cost more accuracy than the others.

    Holds where a one-sided Mann-Whitney test gives p below 0.05. Our value is the probability that
    such a block costs more accuracy than another one, ties counting half.
    """
    errors = singles(frame)["error"].dropna()
    wanted = frame.attrs.get("reshaping") or []
    inside = errors[errors.index.isin(wanted)]
    outside = errors[~errors.index.isin(wanted)]
    if inside.empty or outside.empty:
        raise NotMeasured("no blocks that change the shape, or no others")
    test = mann_whitney(inside, outside)
    listed = ", ".join(f"{block}: {100 * error:.2f} %" for block, error in inside.items())
    return Finding(
        f"costs more accuracy than another block in {test.probability:.0%} of pairs ({listed})",
        f"p = {test.p_value:.2g}",
        bool(test.p_value < 0.05),
    )


def correlation(frame: pd.DataFrame, kind: str, by: str = "count") -> Finding:
    """Spearman's rank correlation of the error with the size of the lesion.

    Holds where its 95 % interval lies above 0, for ``kendall_tau`` below.
    """
    chosen = of_kind(frame, kind).dropna(subset=["error"])
    value, low, high = rank_correlation(chosen[by], chosen["error"])
    if np.isnan(low):
        raise NotMeasured("too few lesions, or all with one error")
    holds = high < 0 if by == "kendall_tau" else low > 0
    return Finding(f"rho = {value:.3f} over {len(chosen)}", f"{low:.3f} to {high:.3f}", holds)


def alike(ours: pd.DataFrame, theirs: pd.DataFrame) -> Estimate:
    """Spearman's rank correlation of two networks' single deletions, block by block.

    Returns:
        The correlation, and its bootstrap interval over blocks.
    """
    table = curve_correlations(ours, theirs).set_index("coefficient")
    return Estimate(*(float(table[name]["spearman"]) for name in ("value", "low", "high")))


def smoothness(frame: pd.DataFrame, kind: str, by: str = "count") -> Finding:
    """Whether medians rise without a jump.

    Holds where they rise, and no step from one to the next is more than a third of the whole rise.
    """
    table = quartiles(frame, kind, by)
    table = table[table["n"] >= FILLED]
    if len(table) < 5:
        raise NotMeasured(f"fewer than five sizes with {FILLED} lesions or more")
    step = largest_step(table["median"])
    rise = f"{100 * table['median'].iloc[0]:.2f} % to {100 * table['median'].iloc[-1]:.2f} %"
    if np.isnan(step):
        return Finding(f"medians do not rise ({rise})", "", False)
    return Finding(f"medians {rise}, largest step {step:.0%} of the rise", "", step <= SMOOTH)
