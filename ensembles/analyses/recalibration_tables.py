"""Damage with trained and with recalibrated BatchNorm statistics, block by block."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ensembles.analyses.base import Run
from ensembles.analyses.lesion_means import (
    LesionMeans,
    attrs_of,
    fitting,
    known,
)
from ensembles.analyses.some_rows import some_rows
from ensembles.decomposition import Decomposition
from ensembles.errors import LesionError
from ensembles.lesions import Choice, Intact
from ensembles.lesions.structure import Structure
from ensembles.statistics import Estimates

if TYPE_CHECKING:
    from ensembles.analyses.members.recalibration import RecalibrationOptions

__all__ = ["recalibration_frame"]

Array = NDArray[np.float64]


def recalibration_frame(
    net: Decomposition, data: Any, options: RecalibrationOptions, run: Run
) -> pd.DataFrame:
    """Lesion every block twice, and lay both side by side."""
    structure = Structure.of(net)
    plain = [one for one in Choice(options.kind).lesions(structure) if one != Intact()]
    plain = [one for one in plain if len(one.blocks) == 1]
    plain, refused = fitting(structure, plain)
    if not plain:
        raise LesionError(
            f"{options.kind}: no lesion of one block alone on {net.model_name}; choose a kind of "
            "single blocks, such as delete"
        )
    renewed = [one.recalibrated(options.batches, options.size) for one in plain]
    control = Intact().recalibrated(options.batches, options.size)
    rows = some_rows(data, options.rows, "recalibration")
    means = LesionMeans.measured(net, rows, [*plain, control, *renewed], run)
    first, second = means.numbers(plain), means.numbers(renewed)
    whole, again = means.numbers([Intact(), control])

    def of_blocks(values: Array) -> Array:
        rise, rise_again = values[first] - values[whole], values[second] - values[whole]
        gain = values[first] - values[second]
        return np.stack([rise, rise_again, gain, gain / rise])

    def of_all(values: Array) -> Array:
        gain, rise = values[first] - values[second], values[first] - values[whole]
        both = np.isfinite(gain) & np.isfinite(rise)
        sums = rise[both].sum(), gain[both].sum()
        return np.stack([*sums, sums[1] / sums[0], values[again] - values[whole]])

    losses = means.estimate(lambda loss, _: of_blocks(loss))
    errors = means.estimate(lambda _, error: of_blocks(error))
    frame = pd.DataFrame(
        {
            "block": [one.blocks[0] for one in plain],
            "name": [net.block(one.blocks[0]).name for one in plain],
            "kind": [net.block(one.blocks[0]).kind for one in plain],
            "error": means.estimate(lambda _, error: error[first]).value,
            "error_recalibrated": means.estimate(lambda _, error: error[second]).value,
            **_columns(errors, "error"),
            **_columns(losses, "loss"),
        }
    )
    frame["reason"] = [_reason(losses, place) for place in range(len(plain))]
    shares, controls = [], []
    for of, chosen in (("rise of the error", 1), ("rise of the loss", 0)):
        found = means.estimate(lambda *both, chosen=chosen: of_all(both[chosen]))
        rise, gain, share, change = ([known(part[at]) for part in found] for at in range(4))
        certain = rise[1] is not None and rise[1] > 0
        value, low, high = share if certain else (None, None, None)
        shares.append(
            {"of": of, "rise": rise[0], "gain": gain[0], "share": value, "low": low, "high": high}
        )
        controls.append({"of": of, "change": change[0], "low": change[1], "high": change[2]})
    frame.attrs |= attrs_of(
        means.frame,
        shares=shares,
        intact=controls,
        refused=refused,
        batch_norms=net.batch_norms,
        intact_error=float(means.frame["error"].iloc[0]),
    )
    return frame


def _columns(found: Estimates, of: str) -> dict[str, Array]:
    """Rises, gains and shares with the ends of their intervals; a share only of a certain rise."""
    columns = {}
    for place, name in enumerate((f"{of}_rise", f"{of}_rise_recalibrated")):
        columns[name] = found.value[place]
    for place, name in ((2, f"{of}_gain"), (3, f"{of}_share")):
        meant = found.low[0] > 0 if place == 3 else np.full(len(found.value[0]), fill_value=True)
        for part, values in (("", found.value), ("_low", found.low), ("_high", found.high)):
            columns[f"{name}{part}"] = np.where(meant, values[place], np.nan)
    return columns


def _reason(losses: Estimates, place: int) -> str:
    """Why a block has no share of the loss; "" where it has one."""
    if not np.isfinite(losses.value[2, place]):
        return "some outputs are not finite"
    return "" if losses.low[0, place] > 0 else "its rise of the loss may be 0"
