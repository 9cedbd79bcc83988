"""Images side by side on the processor's cores."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import torch
from torch import Tensor

from ensembles.cores import shared_out, side_by_side
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
    total = sum(len(labels) for _, labels in batches)
    pieces = _cut(batches, count)
    found: list[Result] = []
    with differentiable(), side_by_side(count) as pool:
        running = [pool.submit(work, *piece) for piece in pieces]
        for (start, images, _), one in zip(pieces, running, strict=True):
            found.append(one.result())
            if report is not None:
                report(start + len(images), total)
    return found


def _cut(batches: Sequence[Batch], count: int) -> list[tuple[int, Tensor, Tensor]]:
    """Pieces of equal size, none larger than the batches were, a multiple of `count`."""
    if count == 1:
        sizes = [len(labels) for _, labels in batches]
        starts = [sum(sizes[:i]) for i in range(len(sizes))]
        return [(start, *batch) for start, batch in zip(starts, batches, strict=True)]
    images = torch.cat([part for part, _ in batches])
    labels = torch.cat([part for _, part in batches])
    pieces = min(len(labels), -(-len(batches) // count) * count)
    parts = shared_out(slice(0, len(labels)), pieces)
    return [(part.start, images[part], labels[part]) for part in parts]
