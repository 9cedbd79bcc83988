"""A kernel for 3x3 convolutions of few channels on a GPU: it walks down strips of columns.

Each pixel is read three times and not nine: what a row of pixels adds to the rows above and below
it is added while it is there. Written in Triton.
"""

from __future__ import annotations

from typing import NamedTuple

import triton
import triton.language as tl
from torch import Tensor, nn

__all__ = ["STRIPS", "Strips", "fits_strips", "launch_strips"]


@triton.jit  # type: ignore[untyped-decorator]
def _finished(  # type: ignore[no-untyped-def]  # noqa: PLR0917 (Triton takes no structures)
    total, bias, other, out, place, there, adds: tl.constexpr, relu: tl.constexpr
):
    """Write a row that has all that is added to it."""
    total += bias
    if adds:
        total += tl.load(other + place, mask=there[:, None], other=0.0).to(tl.float32)
    if relu:
        total = tl.maximum(total, 0.0, propagate_nan=tl.PropagateNan.ALL)
    tl.store(out + place, total.to(out.dtype.element_ty), mask=there[:, None])


@triton.jit(do_not_specialize=["images"])  # type: ignore[untyped-decorator]
def _strips(  # type: ignore[no-untyped-def]  # noqa: PLR0917
    x, weight, bias, other, out, images,
    height: tl.constexpr, width: tl.constexpr,
    channels: tl.constexpr, out_channels: tl.constexpr, made: tl.constexpr,
    columns: tl.constexpr, adds: tl.constexpr, relu: tl.constexpr, stages: tl.constexpr,
):  # fmt: skip
    """Some columns of some images from the top to the bottom, with all or some channels."""
    i = tl.program_id(0) * columns + tl.arange(0, columns)
    column, image = i % width, i // width
    start = image * (height * width) + column
    there = image < images
    left, right = there & (column > 0), there & (column + 1 < width)
    c = tl.arange(0, channels)
    k = tl.program_id(1) * made + tl.arange(0, made)
    matrix = channels * out_channels
    by = weight + c[:, None] * out_channels + k[None, :]
    upper_left, upper, upper_right = tl.load(by), tl.load(by + matrix), tl.load(by + 2 * matrix)
    by += 3 * matrix
    middle_left, middle, middle_right = tl.load(by), tl.load(by + matrix), tl.load(by + 2 * matrix)
    by += 3 * matrix
    lower_left, lower, lower_right = tl.load(by), tl.load(by + matrix), tl.load(by + 2 * matrix)
    offset = tl.load(bias + k)[None, :].to(tl.float32)
    read = x + start[:, None] * channels + c[None, :]
    place = start[:, None] * out_channels + k[None, :]
    above = tl.zeros((columns, made), tl.float32)
    here = tl.zeros((columns, made), tl.float32)
    for row in tl.range(height, num_stages=stages):
        line = read + row * width * channels
        pixel = tl.load(line - channels, mask=left[:, None], other=0.0)
        above = tl.dot(pixel, lower_left, above)
        here = tl.dot(pixel, middle_left, here)
        below = tl.dot(pixel, upper_left)
        pixel = tl.load(line, mask=there[:, None], other=0.0)
        above = tl.dot(pixel, lower, above)
        here = tl.dot(pixel, middle, here)
        below = tl.dot(pixel, upper, below)
        pixel = tl.load(line + channels, mask=right[:, None], other=0.0)
        above = tl.dot(pixel, lower_right, above)
        here = tl.dot(pixel, middle_right, here)
        below = tl.dot(pixel, upper_right, below)
        before = place + (row - 1) * width * out_channels
        _finished(above, offset, other, out, before, there & (row > 0), adds, relu)
        above, here = here, below
    last = place + (height - 1) * width * out_channels
    _finished(above, offset, other, out, last, there, adds, relu)


class Strips(NamedTuple):
    """How the work of a convolution is divided.

    Attributes:
        columns: Columns that a program walks down, of one image after the other.
        made: Channels that it makes.
        warps: Groups of 32 threads that share them.
        stages: Rows of pixels that are under way at a time.
    """

    columns: int
    made: int
    warps: int
    stages: int


STRIPS = {16: Strips(128, 16, 2, 3), 32: Strips(64, 32, 2, 3), 64: Strips(64, 64, 4, 1)}
"""By the channels that are read, and made: the fastest on an H200 of those that need no more memory
on the chip than other cards have (`benchmarks/convolution_tiles.py`)."""


def fits_strips(conv: nn.Conv2d) -> bool:
    """Whether the kernel computes a convolution."""
    return (
        conv.kernel_size == (3, 3)
        and conv.stride == conv.padding == (1, 1)
        and conv.in_channels == conv.out_channels
        and conv.in_channels in STRIPS
    )


def launch_strips(
    x: Tensor, taps: Tensor, bias: Tensor, other: Tensor | None, out: Tensor, *, relu: bool
) -> None:
    """Start the kernel on tensors whose channels lie behind their pixels.

    Args:
        x: The images, (N, C, H, W).
        taps: One matrix for each place in the window, (9, C, K).
        bias: Of each channel that comes out, (K,).
        other: What is added, of the shape that comes out.
        out: Where to write, (N, K, H, W).
        relu: Whether numbers below 0 become 0 in the end.
    """
    rows, channels, height, width = x.shape
    made = out.shape[1]
    by = STRIPS[channels]
    grid = (triton.cdiv(rows * width, by.columns), made // by.made)
    _strips[grid](
        x, taps, bias, x if other is None else other, out, rows, height, width, channels, made,
        by.made, by.columns, other is not None, relu, by.stages, num_warps=by.warps,
        num_stages=by.stages, enable_fp_fusion=False,
    )  # fmt: skip
