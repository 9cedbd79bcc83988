"""Sub-networks drawn as members of an ensemble, and the tables of how they differ."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ensembles.analyses.base import Run
from ensembles.analyses.lesion_means import fitting, known
from ensembles.analyses.member_answers import MemberAnswers
from ensembles.analyses.some_rows import some_rows
from ensembles.decomposition import Decomposition
from ensembles.errors import LesionError
from ensembles.lesions import Delete, Lesion
from ensembles.lesions.structure import Structure
from ensembles.metrics.members.ece import calibration_error
from ensembles.statistics import Estimates, jackknife

if TYPE_CHECKING:
    from ensembles.analyses.members.diversity import DiversityOptions

__all__ = ["diversity_frame", "members_of"]

Array = NDArray[np.float64]
_ALIKE = ("disagreement", "relative_disagreement", "error_correlation")
_TRIES = 100  # draws for one more sub-network that is not there yet


def diversity_frame(
    net: Decomposition, data: Any, options: DiversityOptions, run: Run
) -> pd.DataFrame:
    """Run all members on the same rows, and lay out how they and their averages do."""
    members, made = members_of(net, options)
    rows = some_rows(data, options.rows, "diversity")
    answers = MemberAnswers(net, members, rows, run)
    table = _Table(answers)
    count = len(members)
    names = [("intact", 1, ""), *(("member", 1, one.text) for one in members)]
    names += [("average", size, "") for size in range(2, count + 1)]
    frame = pd.DataFrame(names, columns=["role", "members", "deleted"])
    for name, found in table.networks().items():
        frame[name], frame[f"{name}_low"], frame[f"{name}_high"] = found
    alike = table.pairs()
    for at, name in enumerate(_ALIKE):
        for end, values in zip(("", "_low", "_high"), alike, strict=True):
            frame[f"{name}{end}"] = [np.nan, *values[at], *[np.nan] * (count - 1)]
    frame.attrs = {
        "task": run.task.name,
        "observation": run.task.observation,
        "blocks": len(net),
        "rows": answers.rows,
        "observations": int(answers.total.sum()),
        "made": made,
        "ensemble": table.together(),
    }
    return frame


def members_of(net: Decomposition, options: DiversityOptions) -> tuple[list[Lesion], str]:
    """The lesions that make the members, and what members are, in words.

    Raises:
        LesionError: If fewer than two can be made.
    """
    n = len(net)
    if not any(block.ordered for block in net):
        alone: list[Lesion] = [
            Delete(tuple(other for other in range(1, n + 1) if other != block))
            for block in range(1, n + 1)
        ]
        return alone, f"the {n} networks of the average"
    fine, _ = fitting(Structure.of(net), [Delete((block,)) for block in range(1, n + 1)])
    blocks = [one.blocks[0] for one in fine]
    lacking = min(max(1, round(options.share * n)), len(blocks))
    draw = np.random.default_rng(options.seed)
    found: dict[Lesion, None] = {}
    for _ in range(_TRIES * options.members if blocks else 0):
        chosen = tuple(sorted(draw.choice(blocks, lacking, replace=False).tolist()))
        found.setdefault(Delete(chosen))
        if len(found) == options.members:
            break
    members, _ = fitting(Structure.of(net), found)
    if len(members) < 2:
        raise LesionError(
            f"diversity: {len(members)} sub-networks of {net.model_name} without {lacking} of its "
            f"{n} blocks can be made; expected two or more: lower the share, or choose a network "
            "with more blocks that can be deleted"
        )
    what = f"{lacking} random block{'s' if lacking > 1 else ''}"
    return members, f"{len(members)} sub-networks that lack {what} of {n} each"


class _Table:
    """Numbers of networks and of pairs, from sums over the parts of the data."""

    def __init__(self, answers: MemberAnswers) -> None:
        there = answers.total.numpy() > 0
        self.count = answers.differ.shape[1]
        shapes = {
            "total": answers.total[:, None], "sums": answers.sums, "bins": answers.bins,
            "differ": answers.differ, "wrong": answers.both_wrong,
        }  # fmt: skip
        self.shapes = {name: tuple(one.shape[1:]) for name, one in shapes.items()}
        self.flat = np.concatenate(
            [one.reshape(len(one), -1).numpy() for one in shapes.values()], 1
        )[there]

    def _split(self, sums: Array) -> dict[str, Array]:
        """Sums over some parts, by their name."""
        found, start = {}, 0
        for name, shape in self.shapes.items():
            stop = start + int(np.prod(shape))
            found[name], start = sums[start:stop].reshape(shape), stop
        return found

    def _means(self, sums: Array) -> Array:
        """Error, loss, Brier score and calibration error of each network, (4, networks)."""
        one = self._split(sums)
        right, loss, brier = one["sums"] / one["total"]
        ece = calibration_error(one["bins"][:, 0], one["bins"][:, 1], one["total"])
        return np.stack([1 - right, loss, brier, ece])

    def _pairs(self, sums: Array) -> Array:
        """Disagreement, that over the sum of errors, and correlation of errors, (3, M, M)."""
        one = self._split(sums)
        both = one["wrong"] / one["total"]
        wrong = np.diagonal(both)
        spread = np.sqrt(wrong * (1 - wrong))
        with np.errstate(invalid="ignore", divide="ignore"):
            alike = (both - wrong[:, None] * wrong) / (spread[:, None] * spread)
            differ = one["differ"] / one["total"]
            found = np.stack([differ, differ / (wrong[:, None] + wrong), alike])
        found[:, np.arange(self.count), np.arange(self.count)] = np.nan
        return found

    def networks(self) -> dict[str, Estimates]:
        """Columns of all networks."""
        found = jackknife(self._means, self.flat)
        return {
            name: Estimates(*(part[at] for part in found))
            for at, name in enumerate(("error", "loss", "brier", "ece"))
        }

    def pairs(self) -> Estimates:
        """Means over the other members of what pairs have, (3, M)."""
        return jackknife(lambda sums: _mean(self._pairs(sums), -1), self.flat)

    def together(self) -> list[dict[str, Any]]:
        """What is true of all members together."""

        def statistic(sums: Array) -> Array:
            error, loss, brier, ece = self._means(sums)
            members, last = slice(1, 1 + self.count), -1
            differ, relative, alike = _mean(self._pairs(sums).reshape(3, -1), -1)
            mean = error[members].mean()
            return np.array(
                [
                    differ, relative, alike,
                    mean, error[last], mean - error[last],
                    loss[members].mean(), loss[last],
                    brier[members].mean(), brier[last], brier[members].mean() - brier[last],
                    ece[members].mean(), ece[last], error[0],
                ]
            )  # fmt: skip

        found = jackknife(statistic, self.flat)
        return [
            {"what": what, "value": known(value), "low": known(low), "high": known(high)}
            for what, value, low, high in zip(_TOGETHER, *found, strict=True)
        ]


_TOGETHER = (
    "disagreement of pairs", "disagreement over the sum of both errors", "correlation of errors",
    "error: members' mean", "error: average", "error: members' mean less average's",
    "loss: members' mean (nats)", "loss: average (nats)",
    "Brier score: members' mean", "Brier score: average", "squared distance from the average",
    "calibration error: members' mean", "calibration error: average", "error: intact network",
)  # fmt: skip


def _mean(values: Array, axis: int) -> Array:
    """Mean over what is there; NaN where nothing is."""
    count = np.isfinite(values).sum(axis)
    with np.errstate(invalid="ignore", divide="ignore"):
        found: Array = np.nansum(values, axis) / np.where(count, count, np.nan)
    return found
