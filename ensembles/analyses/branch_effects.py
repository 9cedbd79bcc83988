"""What each branch does to the right answer: by two linearisations, and by deletion."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ensembles.analyses.base import Run
from ensembles.analyses.row_means import row_means
from ensembles.analyses.row_reader import read_rows
from ensembles.decomposition import Decomposition
from ensembles.decomposition.inputs import placed, take
from ensembles.decomposition.walk import last_output, states
from ensembles.engine import Materials, choose_device, default_batch_size
from ensembles.engine.devices import compute_dtype, movable_copy
from ensembles.engine.evaluation import choose_engine
from ensembles.engine.sweep import Sweep
from ensembles.errors import PathError
from ensembles.lesions import Delete
from ensembles.numerics import exact_attention, exact_mathematics
from ensembles.tasks.base import Batch, Task
from ensembles.unravelling.additive import additive, require_additive
from ensembles.unravelling.image_rows import image_rows
from ensembles.unravelling.plain_norms import PlainNorms

__all__ = ["WAYS", "BranchEffects", "branch_effects"]

WAYS = ("derivative", "held", "deleted")
"""By derivatives of everything; with patterns, gates and norm scales held; by real deletion."""


@dataclass(frozen=True)
class BranchEffects:
    """What each branch adds to the logit of the right answer, less the mean over logits.

    Attributes:
        blocks: Numbers of the blocks.
        values: Of each of :data:`WAYS`, (blocks, rows); where a row has several observations, their
            mean. NaN where nothing could be held.
        reason: Why nothing could be held; "" where it could.
    """

    blocks: Sequence[int]
    values: dict[str, Tensor]
    reason: str


def branch_effects(net: Decomposition, data: Any, blocks: Sequence[int], run: Run) -> BranchEffects:
    """Measure the effect of each branch on every row in three ways.

    In a linearisation the logits are a sum of terms, and what holds the branch of block l is its
    value times the gradient of the logit by it: the derivative of the logit by a factor of the
    branch, at 1. By deletion it is the logit less that of the network without the branch.

    Args:
        net: The network.
        data: The rows.
        blocks: Numbers of blocks with a shortcut that can be deleted.
        run: Where and how.
    """
    measured = _Effects(net, blocks, run)
    measured.read(data)
    values = {way: torch.cat(parts, 1) for way, parts in measured.found.items()}
    return BranchEffects(blocks, values, measured.reason)


class _Factored(nn.Module):
    """A branch times a factor of each row."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner
        self.factor: Tensor | None = None

    def forward(self, x: Tensor, *beside: Any) -> Tensor:
        """What the branch gives, times the factor (N,)."""
        out: Tensor = self.inner(x, *beside)
        assert self.factor is not None
        return out * self.factor.view(-1, *[1] * (out.ndim - 1)).to(out.dtype)


class _Effects:
    """Effects, batch by batch."""

    def __init__(self, net: Decomposition, blocks: Sequence[int], run: Run) -> None:
        self.net, self.blocks, self.run = net, list(blocks), run
        self.device = choose_device(run.device)
        precision = "fp32" if run.precision == "fp64" else run.precision
        self.precision, self.dtype = precision, compute_dtype(precision, self.device)
        self.size = run.batch_size or default_batch_size(net, self.device)
        whole = image_rows(movable_copy(net).to(self.device, self.dtype))
        whole.requires_grad_(requires_grad=False)
        held = additive(whole)
        self._held = held
        self.linear = {"derivative": self._factored(whole), "held": self._factored(held)}
        lesions = [Delete((block,)) for block in self.blocks]
        materials = Materials(net, task=run.task, data=None, device=self.device)
        with torch.no_grad(), exact_mathematics("fp32"), exact_attention():
            self.sweep = Sweep(
                net, lesions, materials, engine=choose_engine("shared", self.device),
                device=self.device, dtype=self.dtype, compared=True,
            )  # fmt: skip
        self.found: dict[str, list[Tensor]] = {way: [] for way in WAYS}
        self.rows, self.reason = 0, ""

    def _factored(self, net: Decomposition) -> tuple[Decomposition, list[_Factored]]:
        """A network whose branches have factors, and these branches."""
        factors, blocks = [], []
        for block in net:
            if block.index in self.blocks:
                factors.append(_Factored(block.branch))
                blocks.append(block.with_branch(factors[-1]))
            else:
                blocks.append(block)
        return net.with_blocks(blocks), factors

    def read(self, data: Any) -> None:
        """Measure all rows; a batch that fails for memory is halved."""
        with exact_mathematics(self.precision), exact_attention():
            read_rows(
                self, self.net, data, self.run, self._add,
                title="branches of", size=self.size, device=self.device,
            )  # fmt: skip

    def state(self) -> dict[str, Tensor]:
        """All that was seen."""
        reason = torch.tensor(list(self.reason.encode()), dtype=torch.uint8)
        found = {way: torch.cat(parts, 1) for way, parts in self.found.items()}
        return found | {"rows": torch.tensor(self.rows), "reason": reason}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Go on from what was seen before."""
        self.found = {way: [state[way]] for way in WAYS}
        self.rows, self.reason = int(state["rows"]), bytes(state["reason"].tolist()).decode()
        if self.reason:
            del self.linear["held"]

    def _add(self, batch: Batch, part: slice) -> None:
        """Measure some rows of a batch: all are added or, if memory ends, none."""
        inputs = placed(take(batch.inputs, part), self.device, self.dtype)
        targets = batch.targets[part].to(self.device)
        if not self.rows and "held" in self.linear:
            self._require_held(take(inputs, slice(0, 1)))
        found = {way: self._slopes(way, inputs, targets) for way in self.linear}
        found.setdefault("held", torch.full_like(found["derivative"], torch.nan))
        rows = torch.empty_like(found["derivative"])
        with torch.inference_mode():
            whole = self.sweep.intact(inputs)
            intact = _scores(self.run.task, whole, targets)
            for number, output in self.sweep.run(inputs, batch.start + part.start, whole):
                rows[number] = intact - _scores(self.run.task, output, targets)
        found["deleted"] = rows
        for way, values in found.items():
            self.found[way].append(values.double().cpu())
        self.rows += len(targets)

    def _require_held(self, inputs: Any) -> None:
        """Leave the held network out where a part of it still bends, and keep the reason."""
        try:
            require_additive(self._held, inputs)
        except PathError as error:
            self.reason = str(error)
            del self.linear["held"]

    def _slopes(self, way: str, inputs: Any, targets: Tensor) -> Tensor:
        """Derivatives of each row's score by the factors of its branches, (blocks, rows)."""
        net, branches = self.linear[way]
        with torch.enable_grad(), PlainNorms():
            factors = [
                torch.ones(len(targets), device=self.device, requires_grad=True) for _ in branches
            ]
            for one, factor in zip(branches, factors, strict=True):
                one.factor = factor
            output = net.head(last_output(states(net, inputs)))
            slopes = torch.autograd.grad(_scores(self.run.task, output, targets).sum(), factors)
        for one in branches:
            one.factor = None
        return torch.stack(slopes)


def _scores(task: Task, output: Tensor, targets: Tensor) -> Tensor:
    """Logit of the right answer less the mean over logits, the mean over a row's observations."""
    answers = task.answers(output, targets)
    right = answers.output.gather(-1, answers.target[:, None])[:, 0]
    scores = right - answers.output.mean(-1)
    return row_means(torch.where(answers.finite, scores, math.nan), targets)
