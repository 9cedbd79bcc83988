"""Numbers that several experiments read off their tables."""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy.stats import mannwhitneyu

from ensembles.reproduction.experiment import Finding
from ensembles.reproduction.intervals import median_interval, spearman
from ensembles.reproduction.summaries import by_count, by_tau, largest_step
from ensembles.reproduction.unmeasured import NotMeasured
from ensembles.statistics import curve_correlations

__all__ = [
    "FILLED",
    "LITTLE",
    "SMOOTH",
    "alike",
    "chance_of",
    "correlation",
    "cost_of_one",
    "dearer",
    "intact_error",
    "labelled",
    "points",
    "singles",
    "smoothness",
    "spread",
]

LITTLE = 0.1
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
    """Error at chance level.

    Raises:
        NotMeasured: The number of classes is not known.
    """
    chance = frame.attrs.get("chance")
    if not chance:
        raise NotMeasured("the number of classes is not known")
    return float(chance)


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


def cost_of_one(frame: pd.DataFrame) -> Finding:
    """How far deleting one block brings the error from intact towards chance, in the median.

    Holds where the upper end of the interval over blocks lies below a tenth of the way.
    """
    intact, chance = intact_error(frame), chance_of(frame)
    errors = singles(frame)["error"].dropna()
    middle, low, high = median_interval(errors)
    bound = intact + LITTLE * (chance - intact)
    dear = int((errors >= bound).sum())
    text = (
        f"median error {100 * middle:.2f} %, intact {100 * intact:.2f} % "
        f"({points(middle - intact)} points); {dear} of {len(errors)} blocks cost a tenth of the "
        "way or more"
    )
    return Finding(text, spread(low, high), high < bound)


def dearer(frame: pd.DataFrame) -> Finding:
    """Whether blocks that change the shape cost more than the others.

    Holds where a one-sided Mann-Whitney test gives p below 0.05. Our value is the probability that
    such a block costs more than another one, ties counting half.
    """
    errors = singles(frame)["error"].dropna()
    wanted = frame.attrs.get("reshaping") or []
    inside = errors[errors.index.isin(wanted)]
    outside = errors[~errors.index.isin(wanted)]
    if inside.empty or outside.empty:
        raise NotMeasured("no blocks that change the shape, or no others")
    test = mannwhitneyu(inside, outside, alternative="greater")
    share = float(test.statistic) / (len(inside) * len(outside))
    listed = ", ".join(f"{block}: {100 * error:.2f} %" for block, error in inside.items())
    return Finding(
        f"dearer than another block in {share:.0%} of pairs ({listed})",
        f"p = {test.pvalue:.2g}",
        bool(test.pvalue < 0.05),
    )


def correlation(frame: pd.DataFrame, kind: str, by: str = "count") -> Finding:
    """Spearman's rank correlation of the error with the size of the lesion.

    Holds where its 95 % interval lies above 0, for ``kendall_tau`` below.
    """
    chosen = frame[frame["lesion"] == kind].dropna(subset=["error"])
    value, low, high = spearman(chosen[by], chosen["error"])
    if np.isnan(low):
        raise NotMeasured("too few lesions, or all with one error")
    holds = high < 0 if by == "kendall_tau" else low > 0
    return Finding(f"rho = {value:.3f} over {len(chosen)}", f"{low:.3f} to {high:.3f}", holds)


def alike(ours: pd.DataFrame, theirs: pd.DataFrame) -> tuple[float, float, float]:
    """Spearman's rank correlation of two networks' single deletions, block by block.

    Returns:
        The correlation, and its bootstrap interval over blocks.
    """
    table = curve_correlations(ours, theirs).set_index("coefficient")
    value, low, high = (float(table[name]["spearman"]) for name in ("value", "low", "high"))
    return value, low, high


def smoothness(frame: pd.DataFrame, kind: str, by: str = "count") -> Finding:
    """Whether medians rise without a jump.

    Holds where they rise, and no step from one to the next is more than a third of the whole rise.
    """
    table = by_tau(frame) if by == "tau" else by_count(frame[frame["lesion"] == kind])
    table = table[table["n"] >= FILLED]
    if len(table) < 5:
        raise NotMeasured(f"fewer than five sizes with {FILLED} lesions or more")
    step = largest_step(table["median"])
    rise = f"{100 * table['median'].iloc[0]:.2f} % to {100 * table['median'].iloc[-1]:.2f} %"
    if np.isnan(step):
        return Finding(f"medians do not rise ({rise})", "", False)
    return Finding(f"medians {rise}, largest step {step:.0%} of the rise", "", step <= SMOOTH)
