"""What blocks add to the output by themselves: later shortcuts carry it, later branches stay."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from ensembles.analyses.base import Run
from ensembles.analyses.held_scales import HeldScales
from ensembles.analyses.stream_walk import each_part, on_device
from ensembles.decomposition import Block, Decomposition
from ensembles.decomposition.state import run_block, without_branch
from ensembles.decomposition.walk import last_output, states
from ensembles.engine.evaluation import in_rows
from ensembles.metrics.members.logit_folds import LogitFolds
from ensembles.tasks.base import Batch

__all__ = ["DirectEffects"]

Array = NDArray[np.float64]


class DirectEffects:
    """The direct effect of each block on the centred logit of the right answer.

    The intact network's is compared with that without the block's branch, in which all later
    branches add what they add in the intact network: what the block adds reaches the output through
    later shortcuts, and what follows the sums, alone.

    Attributes:
        blocks: The blocks with a shortcut, by their number.
        scales: The scales of norms on that way, of the batch that was run last.
        normed: Whether there are any.
        held: Of each block, the effect's sum over each part of the data, with these scales held,
            (parts,).
        free: The same with norms that follow what they read.
    """

    def __init__(self, net: Decomposition, run: Run) -> None:
        self.net, self.run = on_device(net, run), run
        self.blocks: Mapping[int, Block] = {
            block.index: block for block in self.net if block.has_shortcut
        }
        self.scales, self.normed = HeldScales(), False
        self._metric = LogitFolds()
        zero = self._metric.zero(net.num_classes)
        self.held: dict[int, Array] = dict.fromkeys(self.blocks, zero)
        self.free: dict[int, Array] = dict.fromkeys(self.blocks, zero)

    def read(self, data: Any) -> None:
        """Measure all rows; a batch that fails for memory is halved."""
        each_part(self.net, data, self.run, self.add, "direct effects")

    def add(self, batch: Batch) -> None:
        """Measure some rows: all are added or, if memory ends, none."""
        frozen, entered, intact = self._intact(batch)
        found: dict[str, dict[int, Array]] = {"held": {}, "free": {}}
        for index in self.blocks:
            held = self._without(index, frozen, entered[index], batch, hold=True)
            found["held"][index] = intact - held
            free = self._without(index, frozen, entered[index], batch) if self.scales else held
            found["free"][index] = intact - free
        self.normed |= bool(self.scales)
        for name, values in found.items():
            setattr(self, name, {k: getattr(self, name)[k] + v for k, v in values.items()})

    def _intact(self, batch: Batch) -> tuple[dict[int, Block], dict[int, Any], Array]:
        """Run the intact network.

        Returns:
            Each block with a branch that is held at its value, what enters each block, and the sum
            of the logit over each part of the data.
        """
        self.scales = HeldScales()
        frozen: dict[int, Block] = {}
        entered: dict[int, Any] = {}

        def between(part: nn.Module, x: Any) -> Any:
            if part is self.net.stem:
                return part(x)
            with self.scales.keeping(_before(len(entered) + 1)):
                return part(x)

        def ran(block: Block, x: Any) -> Any:
            entered[block.index] = x
            if not block.has_shortcut:
                return run_block(block, x)
            kept = _Kept(block.branch)
            run_block(block.with_branch(kept), x)
            frozen[block.index] = block.with_branch(_Fixed(kept.value))
            with self.scales.keeping(block.label):
                return run_block(frozen[block.index], x)

        last = last_output(states(self.net, batch.inputs, ran, between))
        with self.scales.keeping("the head"):
            logits = self.net.head(last)
        return frozen, entered, self._logit(logits, batch)

    def _without(
        self, index: int, frozen: Mapping[int, Block], x: Any, batch: Batch, *, hold: bool = False
    ) -> Array:
        """The sum of the logit over each part, without a branch and with later ones held.

        Args:
            index: Number of the block.
            frozen: Blocks with held branches.
            x: What enters the block.
            batch: The rows.
            hold: Whether the scales of norms are held.
        """
        for block in self.net:
            if block.index < index:
                continue
            if block.index > index and block.before is not None:
                x = self._run(block.before, x, _before(block.index), hold=hold)
            if block.index == index:
                x = self._run(partial(without_branch, block), x, block.label, hold=hold)
            elif block.has_shortcut:
                x = self._run(partial(run_block, frozen[block.index]), x, block.label, hold=hold)
            else:
                x = run_block(block, x)
        return self._logit(self._run(self.net.head, x, "the head", hold=hold), batch)

    def _run(self, part: Callable[[Any], Any], x: Any, key: str, *, hold: bool) -> Any:
        if not hold or not self.scales.kept.get(key):
            return part(x)
        with self.scales.holding(key):
            return part(x)

    def _logit(self, logits: Tensor, batch: Batch) -> Array:
        parts = self.run.task.parts(logits, batch.targets)
        state = self._metric.zero(self.net.num_classes)
        for answers in in_rows(parts, batch.start):
            state = self._metric.update(state, answers)
        return state


def _before(index: int) -> str:
    """What stands before a block, in a message."""
    return f"what stands before block {index}"


class _Kept(nn.Module):
    """A branch that keeps its value."""

    value: Tensor

    def __init__(self, branch: nn.Module) -> None:
        super().__init__()
        self.branch = branch

    def forward(self, x: Tensor, *beside: Any) -> Tensor:
        """What the branch gives."""
        out: Tensor = self.branch(x, *beside)
        self.value = out
        return out


class _Fixed(nn.Module):
    """A branch that gives what it gave, row by row."""

    def __init__(self, value: Tensor) -> None:
        super().__init__()
        self.register_buffer("value", value, persistent=False)

    def forward(self, x: Tensor, *beside: Any) -> Any:
        """The value."""
        return self.value
