"""Images side by side on the processor's cores.

Each core takes its own images and runs every operation alone. Nothing waits at the end of each
operation for a slower core, as it would if the operations themselves were divided.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import TypeVar

import torch
from torch import Tensor

from ensembles.numerics import differentiable

__all__ = ["in_parallel", "workers"]

Result = TypeVar("Result")
Batch = tuple[Tensor, Tensor]


def workers(batches: Sequence[Batch]) -> int:
    """How many batches are worked on at once: one on a device, one a thread on the processor."""
    images = batches[0][0]
    if images.device.type != "cpu":
        return 1
    return min(torch.get_num_threads(), sum(len(labels) for _, labels in batches))


def in_parallel(
    work: Callable[[int, Tensor, Tensor], Result],
    batches: Sequence[Batch],
    report: Callable[[int, int], None] | None = None,
) -> list[Result]:
    """Work on all images, as many batches at once as there are threads.

    Args:
        work: Takes the number of the first image, images and labels.
        batches: Images and labels; they are cut anew, so that all threads have as much to do.
        report: Told of progress in images.

    Returns:
        The results in the order of the images.
    """
    count = workers(batches)
    before = torch.get_num_threads()
    total = sum(len(labels) for _, labels in batches)
    pieces = _cut(batches, count)
    found: list[Result] = []
    with differentiable(), ThreadPoolExecutor(count) as pool:
        try:
            if count > 1:
                torch.set_num_threads(1)
            running = [pool.submit(_alone, count, work, piece) for piece in pieces]
            for (start, images, _), one in zip(pieces, running, strict=True):
                found.append(one.result())
                if report is not None:
                    report(start + len(images), total)
        finally:
            pool.shutdown(cancel_futures=True)
            torch.set_num_threads(before)
    return found


def _alone(
    count: int,
    work: Callable[[int, Tensor, Tensor], Result],
    piece: tuple[int, Tensor, Tensor],
) -> Result:
    if count > 1:
        torch.set_num_threads(1)
    return work(*piece)


def _cut(batches: Sequence[Batch], count: int) -> list[tuple[int, Tensor, Tensor]]:
    """Pieces of equal size, none larger than the batches were, a multiple of `count`."""
    if count == 1:
        sizes = [len(labels) for _, labels in batches]
        starts = [sum(sizes[:i]) for i in range(len(sizes))]
        return [(start, *batch) for start, batch in zip(starts, batches, strict=True)]
    images = torch.cat([part for part, _ in batches])
    labels = torch.cat([part for _, part in batches])
    pieces = min(len(labels), -(-len(batches) // count) * count)
    bounds = [len(labels) * i // pieces for i in range(pieces + 1)]
    return [(first, images[first:last], labels[first:last]) for first, last in pairwise(bounds)]
