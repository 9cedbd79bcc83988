"""Batches of windows of a text, cut at another place and in a new order every epoch."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from ensembles.data.texts import TextDataset
from ensembles.training.loader import EpochBatches
from ensembles.training.randomness import generator

__all__ = ["EpochWindows"]


class EpochWindows(EpochBatches):
    """Windows that the trainer reads once an epoch, each with the tokens that follow.

    Cuts and order depend on seed and epoch alone: the first window begins at a place that is drawn
    anew, so that the model sees a word at every position.

    Args:
        data: The text; its windows are joined again.
        batch_size: Windows in a step, over all processes.
        seed: Seed of the training.
        rank: Number of this process.
        world: Number of processes.
        device: Where the batches are wanted.
    """

    def __init__(
        self,
        data: TextDataset,
        batch_size: int,
        seed: int,
        *,
        rank: int = 0,
        world: int = 1,
        device: torch.device | None = None,
    ) -> None:
        self.length = data.cut.length
        self.joined = data.windows.flatten() if data.cut.step == data.cut.length else None
        super().__init__(
            data.windows,
            data.windows[:, 1:],
            batch_size,
            seed,
            rank=rank,
            world=world,
            device=device,
        )

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Ids (N, T), and those from the second on, (N, T - 1)."""
        if self.joined is not None and len(self.joined) > self.length:
            chance = generator(self.seed, "offset", self.epoch)
            start = int(torch.randint(self.length, (1,), generator=chance))
            rolled = self.joined.roll(-start)
            self.images = rolled.view(-1, self.length)
            self.labels = self.images[:, 1:]
        return super().__iter__()
