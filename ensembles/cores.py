"""Work side by side on the processor's cores.

Each core runs every operation of its own work alone. Nothing waits at the end of each operation
for a slower core, as it would if the operations themselves were divided.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager
from itertools import pairwise

import torch

__all__ = ["shared_out", "side_by_side"]


@contextmanager
def side_by_side(count: int) -> Iterator[Executor]:
    """Threads that work at once.

    Args:
        count: How many; where there are several, each runs its operations on one core.
    """
    before = torch.get_num_threads()
    pool = ThreadPoolExecutor(count, initializer=_alone if count > 1 else None)
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)
        torch.set_num_threads(before)


def _alone() -> None:
    torch.set_num_threads(1)


def shared_out(rows: slice, count: int) -> list[slice]:
    """Rows in parts of equal size, or nearly.

    >>> shared_out(slice(3, 10), 2)
    [slice(3, 6, None), slice(6, 10, None)]
    """
    size = rows.stop - rows.start
    bounds = [rows.start + size * number // count for number in range(count + 1)]
    return [slice(first, last) for first, last in pairwise(bounds)]
