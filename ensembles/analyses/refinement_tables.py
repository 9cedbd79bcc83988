"""The table of refinement: estimation errors, steps along the gradient, and what is read out."""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from ensembles.analyses.base import Run
from ensembles.analyses.fitted_heads import Readout, fitted_readout
from ensembles.analyses.lesion_means import known
from ensembles.analyses.refinement_walk import Refined, features_of, outputs_of
from ensembles.analyses.row_means import by_part
from ensembles.analyses.some_rows import some_rows
from ensembles.decomposition import Decomposition
from ensembles.decomposition.inputs import placed
from ensembles.engine.reference_data import ReferenceData
from ensembles.errors import LesionError
from ensembles.numerics import exact_attention, exact_mathematics
from ensembles.statistics import Estimates, jackknife

if TYPE_CHECKING:
    from ensembles.analyses.members.refinement import RefinementOptions

__all__ = ["refinement_frame"]

Array = NDArray[np.float64]
_MOST_CLASSES = 1000


def refinement_frame(
    net: Decomposition, data: Any, options: RefinementOptions, run: Run
) -> pd.DataFrame:
    """Walk over the network with gradients, fit heads, and lay out what is found."""
    rows = some_rows(data, options.rows, "refinement")
    reason, reference = _training_rows(net, data, options, run)
    seen = Refined(net, run, features=reference is not None)
    seen.read(rows)
    values = {name: one.numpy() for name, one in seen.values.items()}
    fitted = "none" if reference is None else ""
    if reference is not None:
        readouts, fitted = _fitted(seen, reference, options.train, run)
        for name in ("loss", "right") if readouts else ():
            values[f"fitted_{name}"] = np.stack([getattr(one, name) for one in readouts])
    parts = _Parts(values, seen)
    frame = pd.DataFrame(
        {
            "block": range(len(net) + 1),
            "name": ["stem", *net.names],
            "stage": seen.stages,
            **parts.columns(),
        }
    )
    frame.attrs = {
        "task": run.task.name,
        "observation": run.task.observation,
        "blocks": len(net),
        "transitions": [block.index for block in net if block.is_transition],
        "rows": seen.rows,
        "steps": parts.steps(seen.stages),
        "fitted": reason or fitted,
    }
    return frame


class _Parts:
    """Sums over the parts of the data, and the columns that follow from them."""

    def __init__(self, values: dict[str, Array], seen: Refined) -> None:
        loss = values["loss"]
        change = np.full_like(loss, np.nan)
        change[1:] = loss[1:] - loss[:-1]
        first = values["first_order"]
        values = {
            **values, "change": change, "missed": (change - first) ** 2, "squared": change**2
        }  # fmt: skip
        self.counts = {name: by_part(np.isfinite(one)) for name, one in values.items()}
        self.sums = {name: by_part(np.nan_to_num(one)) for name, one in values.items()}
        self.features, self.squares = seen.sums.numpy(), seen.squares.numpy()
        self.there = self.counts["size"][:, 0] > 0
        self.rows = by_part(np.ones((1, seen.rows)))[:, 0]

    def _estimate(self, statistic: Any, *names: str) -> Estimates:
        """A statistic of means over rows, (places,) each, with its interval."""
        stacked = np.stack([np.stack([self.sums[one], self.counts[one]]) for one in names])
        stacked = np.moveaxis(stacked, 2, 0)[self.there]

        def of_sums(sums: Array) -> Array:
            with np.errstate(invalid="ignore", divide="ignore"):
                found: Array = statistic(*(total / count for total, count in sums))
                return found

        return jackknife(of_sums, stacked)

    def columns(self) -> dict[str, Any]:
        """All columns with their intervals."""
        found = {
            "error": self._estimate(lambda e, s: e / np.sqrt(s), "error", "size"),
            "error_sd": self._estimate(
                lambda e, q, s: np.sqrt(np.maximum(q - e * e, 0) / s),
                "error", "error_squared", "size",
            ),
            "bias_share": self._bias(),
            "cosine": self._estimate(np.asarray, "cosine"),
            "lens_cosine": self._estimate(np.asarray, "lens_cosine"),
            "change": self._estimate(np.asarray, "change"),
            "first_order": self._estimate(np.asarray, "first_order"),
            "explained": self._estimate(lambda m, q: 1 - m / q, "missed", "squared"),
            "loss": self._estimate(np.asarray, "loss"),
            "accuracy": self._estimate(np.asarray, "right"),
        }  # fmt: skip
        for name, of in (("fitted_loss", "fitted_loss"), ("fitted_accuracy", "fitted_right")):
            if of in self.sums:
                found[name] = self._estimate(np.asarray, of)
        columns: dict[str, Any] = {}
        for name, one in found.items():
            columns |= {name: one.value, f"{name}_low": one.low, f"{name}_high": one.high}
        absent = ("fitted_loss", "fitted_accuracy")
        for name in (f"{one}{end}" for one in absent for end in ("", "_low", "_high")):
            columns.setdefault(name, np.nan)
        return columns

    def _bias(self) -> Estimates:
        """Share of the mean square that is common to all rows, from pairs of different rows."""
        count = np.broadcast_to(self.rows[:, None], self.squares.shape)
        both = np.stack([self.squares, count], -1)
        stacked = np.concatenate([self.features, both], -1)[self.there]

        def share(sums: Array) -> Array:
            square, rows = sums[:, -2], sums[:, -1]
            with np.errstate(invalid="ignore", divide="ignore"):
                pairs = ((sums[:, :-2] ** 2).sum(-1) - square) / (rows * (rows - 1))
                found: Array = pairs / (square / rows)
                return found

        return jackknife(share, stacked)

    def steps(self, stages: list[int]) -> list[dict[str, Any]]:
        """Change of the loss and its first order, summed over the blocks of each stage."""
        chosen = {str(stage): np.array(stages) == stage for stage in sorted(set(stages))}
        chosen["all"] = np.ones(len(stages), bool)
        rows = []
        for name, which in chosen.items():

            def summed(change: Array, first: Array, which: Any = which) -> Array:
                sums = np.nansum(first[which]), np.nansum(change[which])
                return np.array([*sums, sums[0] / sums[1] if sums[1] else math.nan])

            found = self._estimate(summed, "change", "first_order")
            first, change, share = ([known(part[at]) for part in found] for at in range(3))
            rows.append(
                {
                    "stage": name,
                    "change": change[0], "change_low": change[1], "change_high": change[2],
                    "first_order": first[0], "first_order_low": first[1],
                    "first_order_high": first[2],
                    "share": share[0], "share_low": share[1], "share_high": share[2],
                }
            )  # fmt: skip
        return rows


def _training_rows(
    net: Decomposition, data: Any, options: RefinementOptions, run: Run
) -> tuple[str, ReferenceData | None]:
    """What heads are fitted on, or why on nothing."""
    if not options.train:
        return "none were asked for", None
    if len(net.output_shape) != 1:
        return "none, since the head of a language model is its own at every depth", None
    if net.num_classes > _MOST_CLASSES:
        return f"none, since {net.num_classes:,} classes are more than {_MOST_CLASSES:,}", None
    try:
        return "", ReferenceData.opened(run.reference, data, "train", run.task)
    except LesionError as error:
        if run.reference is not None:
            raise
        return f"none ({error})", None


def _fitted(
    seen: Refined, reference: ReferenceData, wanted: int, run: Run
) -> tuple[list[Readout], str]:
    """Heads fitted on some training rows, read out on the rows seen; and what to say of it."""
    count = min(wanted, reference.rows)
    features: list[list[torch.Tensor]] = [[] for _ in seen.stages]
    labels: list[torch.Tensor] = []
    net = seen.net
    with torch.inference_mode(), exact_mathematics(run.precision), exact_attention():
        for given in reference.batches(count, seen.size):
            batch = run.task.fitted(net, given)
            run.task.check(net, batch)
            outputs = outputs_of(net, placed(batch.inputs, seen.device, seen.dtype))
            for kept, one in zip(features, features_of(net, outputs), strict=True):
                kept.append(one.cpu())
            labels.append(batch.targets.cpu())
    known_classes = torch.cat(labels)
    absent = sorted(set(seen.targets.tolist()) - set(known_classes.tolist()))
    if absent or len(set(known_classes.tolist())) < 2:
        what = f"lack class {absent[0]}" if absent else "have one class"
        return [], f"none: {count} rows of {reference.name} {what}; ask for more rows to train on"
    readouts = []
    for depth, (train, test) in enumerate(zip(features, seen.features, strict=True)):
        fit = partial(
            fitted_readout, torch.cat(train).numpy(), known_classes.numpy(), test.numpy(),
            seen.targets.numpy(),
        )  # fmt: skip
        readouts.append(Readout(**run.kept(f"head {depth}", lambda fit=fit: vars(fit()))))  # type: ignore[misc]
    return readouts, f"fitted on {count} rows of {reference.name}"
