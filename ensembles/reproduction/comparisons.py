"""Our numbers beside the published ones, as tables."""

from __future__ import annotations

import pandas as pd

from ensembles.reproduction.criteria import of_kind, quartiles
from ensembles.reproduction.experiment import Comparison
from ensembles.statistics import error_intervals, fixed_bins, median_interval

__all__ = ["TAU_STEP", "singles_beside", "sizes_beside"]

TAU_STEP = 0.025


def sizes_beside(frame: pd.DataFrame, kind: str, by: str, theirs: pd.DataFrame) -> Comparison:
    """Medians by the size of the lesion, ours with their bootstrap interval over lesions.

    Args:
        frame: Our lesions.
        kind: Which of them.
        by: ``count`` or ``tau``.
        theirs: Published quartiles, with the columns ``by``, ``n``, ``median``.
    """
    cut = of_kind(frame, kind)
    ours = quartiles(frame, kind, by)
    groups = fixed_bins(cut["kendall_tau"], TAU_STEP) if by == "tau" else cut["count"].to_numpy()
    ends = [median_interval(errors) for _, errors in cut["error"].groupby(groups)]
    table = pd.DataFrame(
        {
            by: ours[by],
            "lesions": ours["n"],
            "median %": 100 * ours["median"],
            "from %": [100 * end.low for end in ends],
            "to %": [100 * end.high for end in ends],
        }
    )
    known = pd.DataFrame(
        {
            by: theirs[by],
            "published lesions": theirs["n"],
            "published median %": 100 * theirs["median"],
        }
    )
    return Comparison(
        table.merge(known, on=by, how="left"),
        "Median error, with its 95 % bootstrap interval over lesions, beside the published median",
    )


def singles_beside(ours: pd.DataFrame, theirs: pd.DataFrame) -> Comparison:
    """Errors after deleting each block, ours with Wilson's interval.

    Args:
        ours: Our deletions, indexed by block.
        theirs: The published ones, indexed by block.
    """
    detail = error_intervals(ours)
    table = pd.DataFrame(
        {
            "block": detail.index,
            "error %": 100 * detail["error"].to_numpy(),
            "from %": 100 * detail["error_low"].to_numpy(),
            "to %": 100 * detail["error_high"].to_numpy(),
            "published error %": 100 * theirs["error"].reindex(detail.index).to_numpy(),
        }
    )
    return Comparison(
        table, "Error after deleting each block, with Wilson's 95 % interval, beside the published"
    )
