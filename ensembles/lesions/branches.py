"""Branches that lesions put in place of trained ones; this file alone is made of torch modules."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from ensembles.decomposition.writer import Writer, Written
from ensembles.errors import LesionError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ensembles.decomposition import Block

__all__ = ["ConstantBranch", "NoisyBranch", "normal_noise", "with_noise"]

Node = TypeVar("Node")


class ConstantBranch(nn.Module):
    """A branch that gives one value, whatever it reads.

    Args:
        value: What it gives for each row, without the batch.
    """

    value: Tensor

    def __init__(self, value: Tensor) -> None:
        super().__init__()
        self.register_buffer("value", value)

    def forward(self, x: Tensor, *beside: Any) -> Tensor:
        """The value for each row of the input."""
        return self.value.expand(len(x), *self.value.shape)


class NoisyBranch(Written):
    """What a block's branch adds, with noise.

    Args:
        branch: The branch.
        noise: Adds the noise to a value.
        gate: What the branch is multiplied by before it is added; None for nothing.
    """

    def __init__(self, branch: nn.Module, noise: nn.Module, gate: nn.Module | None = None) -> None:
        super().__init__()
        self.branch, self.noise, self.gate = branch, noise, gate

    def write(self, writer: Writer[Node], name: str, x: Node, beside: Sequence[Node] = ()) -> Node:
        """Write the value of the branch, and the noise upon it."""
        value = writer.part(self.branch, f"{name}.branch", x, beside)
        if self.gate is not None:
            gate = writer.part(self.gate, f"{name}.gate", x, beside)
            value = writer.call(operator.mul, gate, value)
        return writer.part(self.noise, f"{name}.noise", value)


class _Noise(nn.Module):
    """Adds noise to a value: each row's own RMS, times the strength, times normal numbers.

    Attributes:
        rows: Number in the data set of each row that comes next, which the engines set; None for 0,
            1, 2 and so on.
    """

    def __init__(self, strength: float, seed: int, block: int) -> None:
        super().__init__()
        self.strength, self.seed, self.block = strength, seed, block
        self.rows: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        rows = range(len(x)) if self.rows is None else self.rows.tolist()
        if len(rows) != len(x):
            raise LesionError(
                f"noise in block {self.block}: {len(x)} rows came where {len(rows)} were numbered"
            )
        wide = x.float()
        rms = wide.flatten(1).square().mean(1).sqrt().view(-1, *[1] * (x.ndim - 1))
        drawn = np.stack([normal_noise(self.seed, self.block, row, x[0].numel()) for row in rows])
        noise = torch.from_numpy(drawn).view(x.shape).to(x.device)
        return x + (self.strength * rms * noise).to(x.dtype)


def with_noise(block: Block, strength: float, seed: int) -> Block:
    """A block with noise on what its branch adds; where a gate multiplies that, after the gate."""
    noise = _Noise(strength, seed, block.index)
    if not block.gates_branch:
        return block.with_branch(NoisyBranch(block.branch, noise))
    twin = block.with_branch(NoisyBranch(block.branch, noise, block.gate))
    twin.gates_branch = False
    return twin


def normal_noise(seed: int, block: int, row: int, size: int) -> NDArray[np.float32]:
    """Standard normal numbers for one observation, the same on every machine.

    Args:
        seed: Seed of the lesion.
        block: Number of the block.
        row: Number of the observation in its data set.
        size: How many numbers.
    """
    bits = np.random.Philox(key=[seed, block], counter=[0, 0, 0, row])
    return np.random.Generator(bits).standard_normal(size, dtype=np.float32)
