"""Jacobians of branches at single positions, and the table of how far their vectors agree."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from contextlib import nullcontext
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from ensembles.analyses.base import Run
from ensembles.analyses.finite_rows import require_finite
from ensembles.analyses.row_reader import read_rows
from ensembles.analyses.some_rows import some_rows
from ensembles.analyses.stream import channel_dimension, compared_with
from ensembles.decomposition import Block, Decomposition, walk
from ensembles.decomposition.inputs import placed, take
from ensembles.engine import choose_device
from ensembles.engine.devices import compute_dtype
from ensembles.metrics.members.folds import FOLDS
from ensembles.numerics import exact_attention, exact_mathematics
from ensembles.statistics import jackknife
from ensembles.tasks.base import Batch
from ensembles.unravelling.plain_norms import PlainNorms

if TYPE_CHECKING:
    from ensembles.analyses.members.coupling import CouplingOptions

__all__ = ["comparable", "coupling_frame", "misalignments", "position_jacobian"]

Array = NDArray[np.float64]
_AT_ONCE = 128  # copies of a row that one backward pass goes through


def comparable(net: Decomposition) -> list[Block]:
    """The blocks that add to a stream which their shortcut leaves as it is."""
    return [block for block in net if block.has_shortcut and compared_with(block) == "input"]


def coupling_frame(
    net: Decomposition, data: Any, options: CouplingOptions, run: Run
) -> pd.DataFrame:
    """Take Jacobians of all rows, and lay out how far their singular vectors agree."""
    seen = _Jacobians(net, options, run)
    seen.read(some_rows(data, options.rows, "coupling"))
    names = dict(zip(range(1, len(net) + 1), net.names, strict=True))
    parts = np.arange(seen.rows) % FOLDS
    rows = []
    for (block, other), found in seen.values.items():
        value, largest = np.array(found).T
        sums = np.zeros((FOLDS, 2))
        np.add.at(sums, parts, np.stack([value, np.ones_like(value)], 1))
        kept = sums[sums[:, 1] > 0]
        estimate = jackknife(lambda total: total[0] / total[1], kept)
        rows.append(
            {
                "block": block,
                "name": names[block],
                "other": other,
                "other_name": names[other],
                "distance": other - block,
                "misalignment": float(estimate.value),
                "low": float(estimate.low),
                "high": float(estimate.high),
                "largest": float(largest.mean()),
            }
        )
    frame = pd.DataFrame(rows)
    frame.attrs = {
        "task": run.task.name,
        "observation": run.task.observation,
        "blocks": len(net),
        "transitions": [block.index for block in net if block.is_transition],
        "rows": seen.rows,
    }
    return frame


class _Jacobians:
    """Misalignments of all pairs, row by row.

    Attributes:
        values: For each pair of blocks, of each row the mean over positions of the misalignment and
            of the largest singular value of the first block.
        rows: Rows seen.
    """

    def __init__(self, net: Decomposition, options: CouplingOptions, run: Run) -> None:
        self.options, self.run = options, run
        self.device = choose_device(run.device)
        self.dtype = compute_dtype(run.precision, self.device)
        ready = copy.deepcopy(net, {id(net.traced): None}).to(self.device, self.dtype)
        self.net = ready.requires_grad_(requires_grad=False)
        self.blocks = {block.index for block in comparable(self.net)}
        self.values: dict[tuple[int, int], list[tuple[float, float]]] = {}
        self.rows = 0

    def read(self, data: Any) -> None:
        """Measure all rows, one after the other."""
        with exact_mathematics(self.run.precision), exact_attention():
            read_rows(
                self, self.net, data, self.run, self._add,
                title="coupling of", size=1, device=self.device,
            )  # fmt: skip

    def state(self) -> dict[str, Tensor]:
        """All that was seen."""
        return {
            "pairs": torch.tensor(list(self.values), dtype=torch.int64).reshape(-1, 2),
            "values": torch.tensor(list(self.values.values()), dtype=torch.float64),
            "rows": torch.tensor(self.rows),
        }

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Go on from what was seen before."""
        self.values = {
            (block, other): [(value, largest) for value, largest in seen]
            for (block, other), seen in zip(
                state["pairs"].tolist(), state["values"].tolist(), strict=True
            )
        }
        self.rows = int(state["rows"])

    def _add(self, batch: Batch, part: slice) -> None:
        groups: dict[tuple[int, ...], dict[int, Tensor]] = {}
        inputs = placed(take(batch.inputs, part), self.device, self.dtype)
        with torch.no_grad():
            visits, output = list(walk(self.net, inputs)), self.net(inputs)
        targets = batch.targets[part].to(self.device)
        require_finite(self.run.task, output, targets, batch.start + part.start)
        for block, x, _ in visits:
            if block.index in self.blocks:
                found = torch.stack(
                    [position_jacobian(block, x, at) for at in _places(block, x, self.options)]
                )
                shape = (*x.shape[1:], channel_dimension(block, x.ndim))
                groups.setdefault(shape, {})[block.index] = found.double().cpu()
        for jacobians in groups.values():
            indices = list(jacobians)
            values, largest = misalignments(torch.stack(list(jacobians.values())), self.options.top)
            means, tops = values.mean(-1), largest.mean(-1)
            for i, j in product(range(len(indices)), repeat=2):
                row = float(means[i, j]), float(tops[i])
                self.values.setdefault((indices[i], indices[j]), []).append(row)
        self.rows += 1


def _places(block: Block, x: Tensor, options: CouplingOptions) -> list[int]:
    """Numbers of some positions, spread evenly over all, the last among them."""
    count = _vectors(block, x).shape[1]
    wanted = min(options.positions, count)
    return [(place + 1) * count // wanted - 1 for place in range(wanted)]


def position_jacobian(block: Block, x: Tensor, position: int) -> Tensor:
    """Jacobian of what a branch adds at a position by the block's input there.

    Args:
        block: The block.
        x: One row of its input, (1, ...).
        position: Number of the position.

    Returns:
        (channels, channels), the derivative of each output by each input.
    """
    channels = _vectors(block, x).shape[-1]
    rows = []
    for first in range(0, channels, _AT_ONCE):
        outputs = torch.arange(first, min(first + _AT_ONCE, channels), device=x.device)
        copies = x.detach().expand(len(outputs), *x.shape[1:]).clone().requires_grad_()
        plain = PlainNorms() if len(outputs) == 1 else nullcontext()  # of more rows torch is right
        with torch.enable_grad(), plain:
            shared = copies if block.pre is None else block.pre(copies)
            added = _vectors(block, block.on_branch(shared))[:, position]
            chosen = added.gather(1, outputs[:, None]).sum()
        if not chosen.requires_grad:  # nothing that the branch adds depends on its input
            return added.new_zeros(channels, channels)
        (slope,) = torch.autograd.grad(chosen, copies)
        rows.append(_vectors(block, slope)[:, position])
    return torch.cat(rows)


def misalignments(jacobians: Tensor, top: int) -> tuple[Tensor, Tensor]:
    """How far the first singular vectors of Jacobians are those of others.

    Args:
        jacobians: (blocks, positions, channels, channels).
        top: How many singular vectors; all where there are not so many.

    Returns:
        (blocks, blocks, positions), the first block's Jacobian in the vectors of the second; and
        the largest singular values, (blocks, positions). NaN where one is zero or not finite.
    """
    fine = jacobians.isfinite().all(-1).all(-1)
    count, positions = fine.shape
    found = jacobians.new_full((count, count, positions), torch.nan)
    largest = jacobians.new_full((count, positions), torch.nan)
    for place in range(positions):
        whole = torch.where(fine[:, place, None, None], jacobians[:, place], 0.0)
        left, s, right = _first_vectors(whole, top)
        kept = fine[:, place] & (s[:, 0] > 0)
        for block, jacobian in enumerate(whole):
            misses = left.mT @ jacobian @ right - torch.diag_embed(s[block]).expand(count, -1, -1)
            misses = misses.flatten(1).norm(dim=1) / s[block].norm()
            found[block, :, place] = torch.where(kept & kept[block], misses, torch.nan)
        largest[:, place] = torch.where(kept, s[:, 0], torch.nan)
    return found, largest


def _first_vectors(jacobians: Tensor, top: int) -> tuple[Tensor, Tensor, Tensor]:
    """Of each of some matrices (n, n) the first left vectors (n, top), values, right vectors."""
    parts = []
    for jacobian in jacobians:  # one at a time, so that no more than the first vectors are held
        left, sizes, right = torch.linalg.svd(jacobian)
        parts.append((left[:, :top].clone(), sizes[:top].clone(), right[:top].mT.clone()))
    left, s, right = (torch.stack(kind) for kind in zip(*parts, strict=True))
    return left, s, right


def _vectors(block: Block, value: Tensor) -> Tensor:
    """A value as vectors, (rows, positions, channels)."""
    if value.ndim == 2:
        return value[:, None, :]
    return value.movedim(channel_dimension(block, value.ndim), -1).flatten(1, -2)
