"""Direct and total effects of blocks, and what of the first later blocks make good."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ensembles.analyses.base import Run
from ensembles.analyses.direct_effects import DirectEffects
from ensembles.analyses.lesion_means import LesionMeans, attrs_of, fitting, known
from ensembles.analyses.some_rows import some_rows
from ensembles.decomposition import Decomposition
from ensembles.errors import LesionError
from ensembles.lesions import Delete, Intact, Lesion
from ensembles.lesions.structure import Structure
from ensembles.statistics import Estimates, jackknife, spearman_interval

if TYPE_CHECKING:
    from ensembles.analyses.members.repair import RepairOptions

__all__ = ["repair_frame"]

Array = NDArray[np.float64]
_NUMBERS = ("direct", "total", "repair", "by_blocks", "by_norm")


def repair_frame(net: Decomposition, data: Any, options: RepairOptions, run: Run) -> pd.DataFrame:
    """Measure both effects of every block, and lay them side by side."""
    wanted = [Delete((block.index,)) for block in net if block.has_shortcut]
    lesions, refused = fitting(Structure.of(net), wanted)
    if not lesions:
        raise LesionError(
            f"repair: no block of {net.model_name} can be deleted; {next(iter(refused.values()))}"
        )
    rows = some_rows(data, options.rows, "repair")
    means = LesionMeans.measured(net, rows, lesions, run, metrics=("logit_folds",))
    direct = DirectEffects(net, run)
    direct.read(rows)
    blocks = [one.blocks[0] for one in lesions]
    found = _estimates(means, direct, lesions, blocks)
    frame = pd.DataFrame(
        {
            "block": blocks,
            "name": [net.block(block).name for block in blocks],
            **_columns(found),
        }
    )
    certain = (found.low[0] > 0) | (found.high[0] < 0)
    frame["reason"] = [
        "some outputs are not finite" if not np.isfinite(total)
        else "" if sure else "its direct effect may be 0"
        for total, sure in zip(found.value[1], certain, strict=True)
    ]  # fmt: skip
    finite = np.isfinite(found.value[:2]).all(0)
    ends = spearman_interval(found.value[0, finite], found.value[1, finite])
    ranks = {"value": known(ends.value), "low": known(ends.low), "high": known(ends.high)}
    frame.attrs |= attrs_of(means.frame, refused=refused, norm_held=direct.normed, ranks=ranks)
    return frame


def _estimates(
    means: LesionMeans, direct: DirectEffects, lesions: list[Lesion], blocks: list[int]
) -> Estimates:
    """Direct effect, total effect, and the shares of the first that are made good."""
    places, whole = means.numbers(lesions), means.numbers([Intact()])[0]
    logits = means.parts("fold_logit")
    counts = means.sums[:, 0, whole]
    sums = np.stack(
        [
            np.repeat(counts[:, None], len(blocks), 1),
            logits[:, [whole]] - np.where(places < 0, np.nan, logits[:, places]),
            *(
                np.stack([values[block][means.filled] for block in blocks], 1)
                for values in (direct.held, direct.free)
            ),
        ],
        1,
    )

    def statistic(total: Array) -> Array:
        count, lost, held, free = total
        with np.errstate(invalid="ignore", divide="ignore"):
            shares = [1 - lost / held, (free - lost) / held, 1 - free / held]
            return np.stack([held / count, lost / count, *shares])

    return jackknife(statistic, sums)


def _columns(found: Estimates) -> dict[str, Array]:
    """The numbers with the ends of their intervals; shares only of a certain direct effect."""
    certain = (found.low[0] > 0) | (found.high[0] < 0)
    columns: dict[str, Array] = {}
    for place, name in enumerate(_NUMBERS):
        meant = certain if place > 1 else np.full_like(certain, fill_value=True)
        for part, values in (("", found.value), ("_low", found.low), ("_high", found.high)):
            columns[f"{name}{part}"] = np.where(meant, values[place], np.nan)
    return columns
