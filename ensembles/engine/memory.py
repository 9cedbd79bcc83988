"""What is done when memory runs out: rows are run in smaller parts, items each alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import torch

from ensembles.errors import OutOfMemoryError

__all__ = ["Halver", "each_alone", "empty_cache", "free_bytes", "is_oom", "twice"]

_ELSEWHERE = 1 << 30
"""Bytes that states of lesions may take where a device does not say how much is free."""

_SIGNS = ("out of memory", "can't allocate memory", "not enough memory")

_DOUBTFUL = ("could not create a primitive", "could not create a memory", "could not initialize a")
"""What oneDNN says where memory ran out, and now and then for another reason."""

T = TypeVar("T")
R = TypeVar("R")


def is_oom(error: BaseException, *, surely: bool = False) -> bool:
    """Whether an error means that memory ran out, on a GPU or on the CPU.

    Args:
        error: The error.
        surely: Whether errors do not count that may have another reason.
    """
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    text, signs = str(error), _SIGNS if surely else (*_SIGNS, *_DOUBTFUL)
    return isinstance(error, RuntimeError) and any(sign in text for sign in signs)


def twice(work: Callable[[], R], device: torch.device, what: str) -> R:
    """Do something once more, with the cache emptied, where memory runs out.

    Args:
        work: What is done; it leaves nothing behind where it fails.
        device: Where it is done.
        what: What it is, for the message.

    Raises:
        OutOfMemoryError: If memory runs out the second time too.
    """
    for last in (False, True):
        try:
            return work()
        except (RuntimeError, MemoryError) as error:
            if not is_oom(error):
                raise
            if last and not is_oom(error, surely=True):
                raise
            if last:
                raise OutOfMemoryError(
                    f"memory ran out on {device} for {what}; free some, or use another device"
                ) from error
        empty_cache(device)
    raise AssertionError("the second time returns or raises")


class Halver:
    """Does work on rows in parts, halved whenever memory runs out.

    Args:
        device: Where the work is done.

    Attributes:
        largest: The most rows that are tried at a time; None for any.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.largest: int | None = None

    def each(self, rows: int, work: Callable[[slice], None]) -> None:
        """Do work on all rows, each once, in order.

        Args:
            rows: How many there are.
            work: Takes the rows of one part; where it fails, it has added nothing.

        Raises:
            OutOfMemoryError: If memory runs out for a single row.
        """
        step = min(self.largest or rows, rows)
        done, again = 0, False
        while done < rows:
            part = slice(done, min(done + step, rows))
            try:
                work(part)
            except (RuntimeError, MemoryError) as error:
                if not is_oom(error):
                    raise
                if step == 1 and again and not is_oom(error, surely=True):
                    raise
                if step == 1 and again:
                    raise OutOfMemoryError(
                        f"memory ran out on {self.device} for a single image; "
                        "use another device or --precision bf16"
                    ) from error
                again = step == 1  # once more with the cache emptied
                step = self.largest = max(step // 2, 1)
            else:
                done = part.stop
                continue
            empty_cache(self.device)


def each_alone(
    work: Callable[[Sequence[T]], list[R]],
    items: Sequence[T],
    vital: Callable[[Sequence[T]], bool],
) -> tuple[list[R], dict[T, str]]:
    """Do work on items at once; where memory does not suffice, in halves down to one item.

    Args:
        work: Gives a result for each item.
        items: The items.
        vital: Whether nothing can be done without these items, or with parts of them.

    Returns:
        The results of those that memory suffices for, in their order, and why each of the others
        has none.

    Raises:
        OutOfMemoryError: If memory does not suffice for vital items.
    """
    try:
        return work(items), {}
    except OutOfMemoryError as error:
        if vital(items):
            raise
        reason = str(error)
    if len(items) == 1:
        return [], {items[0]: reason}
    middle = len(items) // 2
    first, failed = each_alone(work, items[:middle], vital)
    second, also_failed = each_alone(work, items[middle:], vital)
    return [*first, *second], {**failed, **also_failed}


def free_bytes(device: torch.device) -> int:
    """How much memory can be had: on a GPU what is free, elsewhere a fixed amount."""
    if device.type != "cuda":
        return _ELSEWHERE
    free, _ = torch.cuda.mem_get_info(device)
    kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return int(free + kept)


def empty_cache(device: torch.device) -> None:
    """Give back what the allocator of a GPU keeps."""
    if device.type == "cuda":
        torch.cuda.empty_cache()
