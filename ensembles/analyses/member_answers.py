"""Answers of several networks to the same rows, and of their averages, as sums over parts."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from ensembles.analyses.base import Run
from ensembles.analyses.finite_rows import require_finite
from ensembles.analyses.row_means import owners_of
from ensembles.analyses.row_reader import read_rows
from ensembles.decomposition import Decomposition
from ensembles.decomposition.inputs import placed, take
from ensembles.engine import Materials, check_lesions, choose_device, default_batch_size
from ensembles.engine.devices import compute_dtype
from ensembles.engine.evaluation import choose_engine
from ensembles.engine.sweep import Sweep
from ensembles.lesions import Lesion
from ensembles.metrics.answers import Answers
from ensembles.metrics.members.brier import Brier
from ensembles.metrics.members.ece import BINS, bins_of
from ensembles.metrics.members.folds import FOLDS
from ensembles.numerics import exact_attention, exact_mathematics
from ensembles.tasks.base import Batch

__all__ = ["MemberAnswers"]

_BYTES = 1 << 29  # of the probabilities of all members to one batch
_SUMS = ("total", "sums", "bins", "differ", "both_wrong")


class MemberAnswers:
    """What members answer, and the averages of their first 2, 3, ... probabilities.

    Networks stand in the order: intact, members, averages of the first 2 to M members.

    Args:
        net: The network; left as it is.
        members: The lesions that make the members.
        data: The rows.
        run: Where and how.

    Attributes:
        total: Observations in each part of the data, (parts,).
        sums: Right answers, cross-entropy (nats) and Brier score of each network, summed over the
            observations of each part, (parts, 3, networks).
        bins: Right answers and confidences in each bin of confidence, (parts, networks, 2, bins).
        differ: Observations to which two members answer differently, (parts, M, M).
        both_wrong: Observations that two members get wrong, (parts, M, M).
        rows: Rows seen.
    """

    def __init__(self, net: Decomposition, members: Sequence[Lesion], data: Any, run: Run) -> None:
        self.net, self.run, self.device = net, run, choose_device(run.device)
        count, networks = len(members), 2 * len(members)
        self.total = torch.zeros(FOLDS, dtype=torch.float64)
        self.sums = torch.zeros(FOLDS, 3, networks, dtype=torch.float64)
        self.bins = torch.zeros(FOLDS, networks, 2, BINS, dtype=torch.float64)
        self.differ = torch.zeros(FOLDS, count, count, dtype=torch.float64)
        self.both_wrong = torch.zeros_like(self.differ)
        self.rows, self._count = 0, count
        materials = Materials(
            net, task=run.task, data=data, reference=run.reference, initial=run.initial,
            sources=run.sources, device=self.device,
        )  # fmt: skip
        check_lesions(net, members, materials)
        with torch.no_grad(), exact_mathematics("fp32"), exact_attention():
            self._sweep = Sweep(
                net, members, materials, engine=choose_engine("shared", self.device),
                device=self.device, dtype=compute_dtype(run.precision, self.device), compared=True,
            )  # fmt: skip
        self._read(data)

    def _read(self, data: Any) -> None:
        observations = math.prod(self.net.output_shape[:-1])
        fit = _BYTES // (4 * self._count * observations * self.net.num_classes)
        usual = self.run.batch_size or default_batch_size(self.net, self.device)
        with torch.inference_mode(), exact_mathematics(self.run.precision), exact_attention():
            read_rows(
                self, self.net, data, self.run, self._add,
                title="members of", size=max(1, min(usual, fit)), device=self.device,
            )  # fmt: skip

    def state(self) -> dict[str, Tensor]:
        """All sums."""
        return {name: getattr(self, name) for name in _SUMS} | {"rows": torch.tensor(self.rows)}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Go on from sums over earlier rows."""
        for name in _SUMS:
            setattr(self, name, state[name])
        self.rows = int(state["rows"])

    def _add(self, batch: Batch, part: slice) -> None:
        """Measure some rows of a batch: all are added or, if memory ends, none."""
        inputs = placed(take(batch.inputs, part), self.device, self._sweep.dtype)
        targets = batch.targets[part].to(self.device)
        start = batch.start + part.start
        whole = self._sweep.intact(inputs)
        require_finite(self.run.task, whole, targets, start)
        found: dict[int, Answers] = {}
        for number, output in self._sweep.run(inputs, start, whole):
            found[number] = self.run.task.answers(output, targets)
        members = [found[number] for number in range(self._count)]
        networks = [self.run.task.answers(whole, targets), *members, *_averages(members)]
        parts = (start + owners_of(targets)) % FOLDS
        values = torch.stack([torch.stack(_values(one)) for one in networks], -1)
        predicted = torch.stack([one.predicted for one in members], 1)
        wrong = torch.stack([~one.right for one in members], 1)
        differ = (predicted[:, :, None] != predicted[:, None, :]).to(values.dtype)
        both = (wrong[:, :, None] & wrong[:, None, :]).to(values.dtype)
        bins = _binned(networks, parts)
        self.total += torch.bincount(parts, minlength=FOLDS).double().cpu()
        self._sum(self.sums, parts, values.movedim(1, 0))
        self._sum(self.differ, parts, differ)
        self._sum(self.both_wrong, parts, both)
        self.bins += bins.double().cpu()
        self.rows += len(targets)

    def _sum(self, kept: Tensor, parts: Tensor, values: Tensor) -> None:
        zero = torch.zeros(kept.shape, dtype=values.dtype, device=values.device)
        kept += zero.index_add_(0, parts, values).double().cpu()


def _averages(members: Sequence[Answers]) -> list[Answers]:
    """The averages of the probabilities of the first 2, 3, ... members."""
    found, running = [], members[0].probabilities.to(members[0].wide)
    for count, one in enumerate(members[1:], 2):
        running = running + one.probabilities
        mean = (running / count).clamp_min(torch.finfo(torch.float32).tiny)
        found.append(Answers.of(mean.log(), one.target))
    return found


def _values(answers: Answers) -> list[Tensor]:
    """Whether right, cross-entropy, and Brier score of each observation; NaN where not finite."""
    wide = answers.wide
    values = [answers.right, answers.losses, Brier().values(answers)]
    return [torch.where(answers.finite, one.to(wide), torch.nan) for one in values]


def _binned(networks: Sequence[Answers], parts: Tensor) -> Tensor:
    """Right answers and confidences by part and bin, (parts, networks, 2, bins)."""
    found = []
    for one in networks:
        confidence = one.probabilities.amax(-1).to(one.wide)
        place = parts * BINS + bins_of(confidence)
        both = torch.stack([one.right.to(one.wide), confidence])
        zero = torch.zeros(2, FOLDS * BINS, dtype=one.wide, device=place.device)
        found.append(zero.index_add_(1, place, both).reshape(2, FOLDS, BINS))
    return torch.stack(found).permute(2, 0, 1, 3)
