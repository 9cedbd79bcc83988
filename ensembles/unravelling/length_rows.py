"""Rows for every path length, each with its own power of two, so that none underflows."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from ensembles.unravelling.linearization import zeros

__all__ = [
    "AT_ONCE", "LOWEST", "LengthRows", "apart_from", "chunks", "greatest", "log2_norm", "ranges",
    "same_place",
]  # fmt: skip

LOWEST = -(2.0**40)
_NOTHING = -2100.0
"""An exponent that leaves nothing of any number, in double precision too."""

_RANGE = 40.0
_CALM = 16.0
_EVERY = 4
AT_ONCE = {"cpu": 2 * 2**20, "cuda": 256 * 2**20}
"""Bytes of rows that are worked on together: on a processor those that stay in its cache; many
more on a GPU, where each launch costs time."""


class LengthRows:
    """One tensor for each path length and image; its value is ``data * 2**exponent``.

    Attributes:
        data: (lengths, images, *shape), with room for lengths that are not yet reached.
        count: Lengths in use, 0..count-1.
        exponent: (capacity, images), float64 whole numbers; `LOWEST` where the row is zero.
        level: Whether all exponents in use are zero, so that rows add without scaling.
    """

    def __init__(self, capacity: int, images: int, shape: tuple[int, ...], like: Tensor) -> None:
        rows = zeros(capacity * images, shape, like)
        self.data = torch.unflatten(rows, 0, (capacity, images))
        self.exponent = torch.zeros(capacity, images, dtype=torch.float64, device=like.device)
        self.count, self.level = 0, True
        self.waiting, self.seen = 0, torch.ones(1, images, dtype=torch.float64, device=like.device)

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one row."""
        return tuple(self.data.shape[2:])

    @property
    def images(self) -> int:
        """Rows of one length."""
        return int(self.data.shape[1])

    def rows(self, start: int, stop: int) -> Tensor:
        """The rows of lengths start..stop-1, stacked in one batch; a view."""
        found: Tensor = self.data[start:stop].flatten(0, 1)
        return found

    def renormalize(self) -> None:
        """Bring rows back near 1 where they have left the middle of the floating-point range.

        To be called after every block: it looks at the rows each time while they change quickly,
        and every few blocks while they do not.
        """
        if self.waiting:
            self.waiting -= 1
            return
        used = self.data[: self.count]
        size = greatest(used)
        self.waiting = _EVERY - 1 if _is_calm(self.seen, size) else 0
        near = (size > 2.0**-_RANGE) & (size < 2.0**_RANGE)
        if bool(near.all()):
            self.seen = size
            return
        old = self.exponent[: self.count]
        shift = torch.where(size > 0, torch.floor(torch.log2(size)), torch.zeros_like(size))
        multiply_by_powers(used, -shift)
        self.exponent[: self.count] = torch.where(size > 0, old + shift, LOWEST)
        self.level = False
        self.seen = size * torch.exp2(-shift)

    def log2_norms(self) -> Tensor:
        """The base-2 logarithms of the L2 norms: (count, images), float64, -inf for zero."""
        return log2_norm(self.data[: self.count], self.exponent[: self.count])


def log2_norm(data: Tensor, exponent: Tensor) -> Tensor:
    """Base-2 logarithm of the norm of each row ``data * 2**exponent``.

    Args:
        data: (lengths, images, *shape).
        exponent: (lengths, images).
    """
    size = greatest(data)
    safe = torch.where(size > 0, size, torch.ones_like(size))
    shift = torch.floor(torch.log2(safe))
    dims = tuple(range(2, data.ndim))
    out = torch.empty_like(size)
    for start, stop in chunks(len(data), data[0]):
        part = data[start:stop]
        factor = torch.exp2(-shift[start:stop])
        spread = factor.view(*factor.shape, *[1] * (data.ndim - 2)).to(data.dtype)
        out[start:stop] = torch.linalg.vector_norm(part * spread, dim=dims, dtype=torch.float64)
    return torch.log2(out) + shift + exponent


def _is_calm(before: Tensor, now: Tensor) -> bool:
    """Whether no length changed by a large factor; a new one is compared with its neighbour."""
    new = before[-1:].expand(len(now) - len(before), -1) if len(now) > len(before) else before[:0]
    change = now / torch.cat([before, new])[: len(now)]
    return bool(((change > 2.0**-_CALM) & (change < 2.0**_CALM)).all())


def greatest(data: Tensor) -> Tensor:
    """The greatest absolute value of each row of (lengths, images, *shape), float64."""
    rows = data.permute(0, 1, 3, 4, 2) if data.ndim == 5 else data  # as it lies in memory
    flat = rows.flatten(2)
    found: Tensor = torch.maximum(flat.amax(2), -flat.amin(2))
    return found.to(torch.float64)


def multiply_by_powers(data: Tensor, exponent: Tensor) -> None:
    """Multiply rows (lengths, images, *shape) in place by 2**exponent, in steps that are finite."""
    left = exponent
    while bool((left != 0).any()):
        step, gone = left.clamp(-100, 100), left < _NOTHING
        factor = torch.exp2(step).masked_fill(gone, 0.0)
        data.mul_(factor.view(*step.shape, *[1] * (data.ndim - 2)).to(data.dtype))
        left = (left - step).masked_fill(gone, 0.0)


def same_place(first: Tensor, second: Tensor) -> bool:
    """Whether two tensors are the same numbers in memory, in the same order.

    The transpose of a square has its shape and begins where it does.
    """
    if first.data_ptr() != second.data_ptr() or first.shape != second.shape:
        return False
    steps = zip(first.shape, first.stride(), second.stride(), strict=True)
    return all(one == other or size == 1 for size, one, other in steps)


def apart_from(tensor: Tensor, other: Tensor) -> Tensor:
    """A tensor that shares no memory with another one: itself, or a copy."""
    shared = tensor.untyped_storage().data_ptr() == other.untyped_storage().data_ptr()
    return tensor.clone() if shared else tensor


def chunks(
    count: int, row: Tensor, times: int = 1, *, last_first: bool = False
) -> Iterator[tuple[int, int]]:
    """Ranges of rows that are worked on together; see `AT_ONCE`.

    Args:
        count: How many rows there are.
        row: One of them; or a part of one, if it is needed ``times``.
        times: What a row takes, as a multiple of `row`.
        last_first: Whether the ranges come from the last to the first.
    """
    budget = AT_ONCE.get(row.device.type, AT_ONCE["cpu"])
    return ranges(count, row.numel() * row.element_size() * times, budget, last_first=last_first)


def ranges(
    count: int, row_bytes: int, budget: int, *, last_first: bool = False
) -> Iterator[tuple[int, int]]:
    """Ranges of rows whose memory stays within a budget."""
    step = max(1, min(count, budget // max(1, row_bytes)))
    starts = list(range(0, count, step))
    for start in reversed(starts) if last_first else starts:
        yield start, min(start + step, count)
