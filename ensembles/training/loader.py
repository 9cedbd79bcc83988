"""Batches of 8-bit images in memory, in a new order every epoch."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from ensembles.training.randomness import generator

__all__ = ["EpochBatches"]


class EpochBatches:
    """An iterable that the trainer reads once an epoch.

    The order depends on seed and epoch alone. With several processes each reads every
    ``world``-th image of the common order, so that a step sees ``batch_size`` images in all.

    Args:
        images: uint8, (N, C, H, W).
        labels: int64, (N,).
        batch_size: Images in a step, over all processes.
        seed: Seed of the training.
        rank: Number of this process.
        world: Number of processes.
        device: Where the batches are wanted. All images lie there, if they take at most half of the
            memory that is free.
    """

    def __init__(
        self,
        images: Tensor,
        labels: Tensor,
        batch_size: int,
        seed: int,
        *,
        rank: int = 0,
        world: int = 1,
        device: torch.device | None = None,
    ) -> None:
        self.images = images
        self.labels = labels
        self.batch_size = batch_size
        self.seed = seed
        self.rank = rank
        self.world = world
        self.device = device
        self.epoch = 0
        self._placed: tuple[Tensor, Tensor, Tensor] | None = None

    @property
    def sampler(self) -> EpochBatches:
        """What the trainer tells the number of the epoch to."""
        return self

    def set_epoch(self, epoch: int) -> None:
        """Choose the order of the next pass, from 0."""
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self._bounds())

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        order = torch.randperm(
            len(self.labels), generator=generator(self.seed, "order", self.epoch)
        )
        images, labels = self._near()
        order = order.to(images.device)
        for first, last in self._bounds():
            chosen = order[first:last][self.rank :: self.world]
            yield images[chosen], labels[chosen]

    def sizes(self) -> list[int]:
        """Images of this process in each batch."""
        return [(last - first) // self.world for first, last in self._bounds()]

    def _near(self) -> tuple[Tensor, Tensor]:
        """Images and labels on the device, where it is a GPU with room for them."""
        if self.device is None or self.device.type != "cuda":
            return self.images, self.labels
        if self._placed is None or self._placed[0] is not self.images:
            free, _ = torch.cuda.mem_get_info(self.device)
            if 2 * self.images.nbytes > free:
                return self.images, self.labels
            near = self.images.to(self.device), self.labels.to(self.device)
            self._placed = (self.images, *near)
        return self._placed[1:]

    def _bounds(self) -> list[tuple[int, int]]:
        """Start and end of each batch; every process gets equally many images of it.

        A rest of one image a process is left out: BatchNorm cannot normalise over one value.
        """
        count = len(self.labels)
        starts = range(0, count, self.batch_size)
        ends = (min(start + self.batch_size, count) for start in starts)
        equal = (
            (start, end - (end - start) % self.world)
            for start, end in zip(starts, ends, strict=True)
        )
        return [(start, end) for start, end in equal if end - start >= 2 * self.world]
