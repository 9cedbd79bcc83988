"""Branches that lesions put in place of trained ones; this file alone is made of torch modules."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from ensembles.errors import LesionError

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["ConstantBranch", "GatedBranch", "Noise", "normal_noise"]


class ConstantBranch(nn.Module):
    """A branch that gives one value, whatever it reads.

    Args:
        value: What it gives for each row, without the batch.
    """

    value: Tensor

    def __init__(self, value: Tensor) -> None:
        super().__init__()
        self.register_buffer("value", value)

    def forward(self, x: Tensor) -> Tensor:
        """The value for each row of the input."""
        return self.value.expand(len(x), *self.value.shape).clone()


class GatedBranch(nn.Module):
    """What a gated block adds: its branch times its gate.

    Args:
        branch: The branch.
        gate: The gate.
    """

    def __init__(self, branch: nn.Module, gate: nn.Module) -> None:
        super().__init__()
        self.branch, self.gate = branch, gate

    def forward(self, x: Tensor) -> Tensor:
        """The product."""
        out: Tensor = self.gate(x) * self.branch(x)
        return out


class Noise(nn.Module):
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
        """The value with its noise.

        Raises:
            LesionError: If the rows are not those that were numbered.
        """
        rows = range(len(x)) if self.rows is None else self.rows.tolist()
        if len(rows) != len(x):
            raise LesionError(
                f"noise in block {self.block}: {len(x)} rows came where {len(rows)} were numbered"
            )
        wide = x.float()
        rms = wide.flatten(1).square().mean(1).sqrt().view(-1, *[1] * (x.ndim - 1))
        drawn = np.stack([normal_noise(self.seed, self.block, row, x[0].numel()) for row in rows])
        noise = torch.from_numpy(drawn).view(x.shape).to(x.device)
        return (wide + self.strength * rms * noise).to(x.dtype)


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
