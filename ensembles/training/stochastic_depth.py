"""Training with dropped blocks: stochastic depth, and networks of exactly K blocks.

Both leave the architecture as it is. While training, a dropped block runs its shortcut alone. At
test time every branch counts with its survival probability (Huang et al. 2016, equation 5); that
factor is folded into the last layer of the branch, so that the exported weights belong to the plain
architecture and need no special code.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ensembles.errors import UsageError
from ensembles.models.parts import ResidualBlock, residual_blocks

__all__ = ["BlockDropping", "drop_branches", "dropping_for", "fold_survival"]


@dataclass(frozen=True)
class BlockDropping:
    """Which blocks are in the network in a step.

    Attributes:
        survival: Probability that each block's branch is there, from first to last block.
        exactly: Draw exactly so many blocks, all sets equally likely; ``None`` draws each block by
            itself.
    """

    survival: tuple[float, ...]
    exactly: int | None = None

    @classmethod
    def stochastic_depth(cls, blocks: int, last: float) -> BlockDropping:
        """Linear decay: block l of n survives with probability 1 - (l / n)(1 - last).

        Huang et al. 2016 (arXiv 1603.09382), equation 4.

        >>> BlockDropping.stochastic_depth(4, 0.5).survival
        (0.875, 0.75, 0.625, 0.5)
        """
        return cls(tuple(1 - number / blocks * (1 - last) for number in range(1, blocks + 1)))

    @classmethod
    def paths_only(cls, blocks: int, exactly: int) -> BlockDropping:
        """Exactly so many blocks in each step, as in section 5 of the lesion paper."""
        return cls((exactly / blocks,) * blocks, exactly)

    @property
    def drops(self) -> bool:
        """Whether any block can be dropped at all."""
        return any(probability < 1 for probability in self.survival)

    def draw(self, generator: torch.Generator) -> tuple[bool, ...]:
        """Draw the blocks of one step: true where the branch runs."""
        count = len(self.survival)
        if self.exactly is not None:
            chosen = set(torch.randperm(count, generator=generator)[: self.exactly].tolist())
            return tuple(number in chosen for number in range(count))
        uniform = torch.rand(count, generator=generator, dtype=torch.float64)
        return tuple(
            value < probability
            for value, probability in zip(uniform.tolist(), self.survival, strict=True)
        )


def dropping_for(
    model: nn.Module, name: str, stochastic_depth: float, paths_only: int | None
) -> BlockDropping | None:
    """Choose the rule that two options ask for.

    Args:
        model: The network.
        name: Its name, for messages.
        stochastic_depth: Survival probability of the last block; 0 and 1 drop nothing.
        paths_only: Number of blocks in each step; ``None`` leaves all in.

    Returns:
        The rule, or ``None`` for ordinary training.

    Raises:
        UsageError: When both are asked for, one is out of range, or the network has no residual
            blocks of this library.
    """
    if not 0 <= stochastic_depth <= 1:
        raise UsageError(
            f"stochastic depth {stochastic_depth:g}; expected the survival probability of the "
            "last block, between 0 and 1 (0 drops nothing)"
        )
    if stochastic_depth == 0 and paths_only is None:
        return None
    if stochastic_depth > 0 and paths_only is not None:
        raise UsageError("stochastic depth and paths-only exclude each other; choose one")
    blocks = len(residual_blocks(model))
    if not blocks:
        raise UsageError(
            f"{name} has no residual blocks that can be dropped while training; stochastic depth "
            "and paths-only are for the resnet and preresnet families"
        )
    if paths_only is None:
        return BlockDropping.stochastic_depth(blocks, stochastic_depth)
    if not 1 <= paths_only <= blocks:
        raise UsageError(
            f"paths-only {paths_only}, but {name} has {blocks} blocks; expected 1 to {blocks}"
        )
    return BlockDropping.paths_only(blocks, paths_only)


def drop_branches(blocks: Sequence[ResidualBlock], kept: Sequence[bool | Tensor]) -> None:
    """Switch the branches of a network for the next forward pass, by values or by masks."""
    for block, keep in zip(blocks, kept, strict=True):
        block.branch_active = keep


@torch.no_grad()
def fold_survival(model: nn.Module, dropping: BlockDropping | None) -> nn.Module:
    """A copy with all branches in, each scaled by its survival probability.

    Args:
        model: The network as it is trained; it stays as it is.
        dropping: The rule of the training; ``None`` only copies.

    Returns:
        The network for test time, in evaluation mode.
    """
    folded = copy.deepcopy(model).eval()
    blocks = residual_blocks(folded)
    drop_branches(blocks, [True] * len(blocks))
    if dropping is not None:
        for block, probability in zip(blocks, dropping.survival, strict=True):
            for parameter in block.branch_end.parameters(recurse=False):
                parameter.mul_(probability)
    return folded
