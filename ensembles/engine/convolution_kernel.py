"""A kernel for convolutions of few channels on a GPU, with sum and ReLU; written in Triton.

Each row of a batch is computed alike, whatever rows stand beside it and however many.
"""

from __future__ import annotations

import weakref
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor, nn

from ensembles.cuda_graphs import is_recording
from ensembles.engine.pages import settled
from ensembles.engine.strip_kernel import fits_strips, launch_strips

__all__ = ["FewChannels"]

_MOST_CHANNELS = 64
"""More keep the arithmetic of a GPU busy; there its maker's library is the faster one."""

_MOST_NUMBERS = 2**31 - 1
"""Places in memory are 32-bit numbers; larger tensors are left to others."""


@triton.jit  # type: ignore[untyped-decorator]
def _added(  # type: ignore[no-untyped-def]  # noqa: PLR0917 (Triton takes no structures)
    total, x, weight, start, row, column, there, c, k, step,
    height: tl.constexpr, width: tl.constexpr,
    channels: tl.constexpr, out_channels: tl.constexpr,
    kernel_width: tl.constexpr, chunk: tl.constexpr,
):  # fmt: skip
    """What some channels at one place of the window add."""
    tap = step // (channels // chunk)
    first = step % (channels // chunk) * chunk
    down = tap // kernel_width
    right = tap % kernel_width
    inside = (row + down >= 0) & (row + down < height)
    inside &= (column + right >= 0) & (column + right < width) & there
    place = (start + down * width + right)[:, None] * channels + (first + c)[None, :]
    read = tl.load(x + place, mask=inside[:, None], other=0.0)
    by = tl.load(weight + (tap * channels + first + c)[:, None] * out_channels + k[None, :])
    return tl.dot(read, by, total)


@triton.jit(do_not_specialize=["pixels"])  # type: ignore[untyped-decorator]
def _convolution(  # type: ignore[no-untyped-def]  # noqa: PLR0917
    x, weight, bias, other, out, pixels,
    height: tl.constexpr, width: tl.constexpr, out_height: tl.constexpr, out_width: tl.constexpr,
    channels: tl.constexpr, out_channels: tl.constexpr,
    kernel_height: tl.constexpr, kernel_width: tl.constexpr, stride: tl.constexpr,
    padding_height: tl.constexpr, padding_width: tl.constexpr,
    tile: tl.constexpr, chunk: tl.constexpr, made: tl.constexpr, unrolled: tl.constexpr,
    adds: tl.constexpr, relu: tl.constexpr,
):  # fmt: skip
    """A tile of pixels that come out, with all or some of their channels."""
    m = tl.program_id(0) * tile + tl.arange(0, tile)
    k = tl.program_id(1) * made + tl.arange(0, made)
    c = tl.arange(0, chunk)
    there = m < pixels
    column = m % out_width * stride - padding_width
    row = m // out_width % out_height * stride - padding_height
    start = (m // (out_height * out_width) * height + row) * width + column
    total = tl.zeros((tile, made), tl.float32)
    if unrolled:
        for step in tl.static_range(kernel_height * kernel_width * (channels // chunk)):
            total = _added(
                total, x, weight, start, row, column, there, c, k, step,
                height, width, channels, out_channels, kernel_width, chunk,
            )  # fmt: skip
    else:
        for step in range(kernel_height * kernel_width * (channels // chunk)):
            total = _added(
                total, x, weight, start, row, column, there, c, k, step,
                height, width, channels, out_channels, kernel_width, chunk,
            )  # fmt: skip
    total += tl.load(bias + k)[None, :].to(tl.float32)
    place = m[:, None] * out_channels + k[None, :]
    if adds:
        total += tl.load(other + place, mask=there[:, None], other=0.0).to(tl.float32)
    if relu:
        total = tl.maximum(total, 0.0, propagate_nan=tl.PropagateNan.ALL)
    tl.store(out + place, total.to(out.dtype.element_ty), mask=there[:, None])


class Tiles(NamedTuple):
    """How the work of a convolution is divided.

    Attributes:
        pixels: Pixels that a program makes.
        warps: Groups of 32 threads that share them.
        stages: Reads that are under way at a time; 0 for all the window written out, so that
            reads go through the cache that is nearest.
    """

    pixels: int
    warps: int
    stages: int


TILES = {16: Tiles(256, 4, 0), 32: Tiles(128, 8, 0), 64: Tiles(128, 8, 0)}
"""By the channels that are read at a time; from a trial on an H200, the one card that was tried."""


class _Weights(NamedTuple):
    """Weights of a convolution as the kernel reads them.

    Attributes:
        taps: One matrix for each place in the window, (taps, channels, channels that come out).
        bias: Of each channel that comes out.
    """

    taps: Tensor
    bias: Tensor


class FewChannels:
    """Convolutions of few channels, with the sum and the ReLU after them, in one kernel."""

    def __init__(self) -> None:
        self._weights: weakref.WeakKeyDictionary[nn.Conv2d, _Weights]
        self._weights = weakref.WeakKeyDictionary()

    def fits(self, conv: nn.Conv2d) -> bool:
        """Whether it is worth while for a convolution, wherever it will lie."""
        channels = (conv.in_channels, conv.out_channels)
        return (
            all(one % 16 == 0 and one <= _MOST_CHANNELS for one in channels)
            and conv.dilation == (1, 1)
            and conv.stride[0] == conv.stride[1]
        )

    def run(self, conv: nn.Conv2d, x: Tensor, other: Tensor | None, *, relu: bool) -> Tensor | None:
        """Map (N, C, H, W) to the ReLU, if asked for, of its convolution plus the other.

        Returns:
            A tensor of its own; None where these cannot be run so.

        Raises:
            TritonError: Or anything else, if the kernel cannot be compiled or run.
        """
        by_strips = fits_strips(conv)
        shape = x.shape if by_strips else _shape_made(conv, x)
        if min(shape) < 1 or max(x.numel(), shape.numel()) > _MOST_NUMBERS:
            return None
        if other is not None and (other.shape != shape or other.dtype != x.dtype):
            return None
        weights = self._weights.get(conv)
        if weights is None:
            if is_recording():
                return None  # they would be there only when the recording is replayed
            weights = self._weights[conv] = _laid_out(conv)
        if weights.taps.dtype != x.dtype:
            return None
        x, other = settled(x), None if other is None else settled(other)
        out = torch.empty(shape, dtype=x.dtype, device=x.device, memory_format=torch.channels_last)
        with _on(x.device):
            if by_strips:
                launch_strips(x, weights.taps, weights.bias, other, out, relu=relu)
            else:
                _launch(conv, x, weights, other, out, relu=relu)
        return out


def _on(device: torch.device) -> AbstractContextManager[Any]:
    """Where a kernel is started: on the device of its tensors, or by Triton's interpreter."""
    if device.type != "cuda" or device.index == torch.cuda.current_device():
        return nullcontext()
    return torch.cuda.device(device)


def _launch(
    conv: nn.Conv2d, x: Tensor, weights: _Weights, other: Tensor | None, out: Tensor, *, relu: bool
) -> None:
    """Start the kernel on tensors whose channels lie behind their pixels."""
    (_, channels, height, width), (rows, made, *shape) = x.shape, out.shape
    pixels = rows * shape[0] * shape[1]
    chunk, together = _power_in(channels), _power_in(made)
    tiles = TILES[chunk]
    grid = (triton.cdiv(pixels, tiles.pixels), made // together)
    _convolution[grid](
        x, weights.taps, weights.bias, x if other is None else other, out, pixels,
        height, width, *shape, channels, made, *conv.kernel_size, conv.stride[0],
        *conv.padding, tiles.pixels, chunk, together, tiles.stages == 0,
        other is not None, relu, num_warps=tiles.warps, num_stages=max(tiles.stages, 1),
        enable_fp_fusion=False,
    )  # fmt: skip


def _laid_out(conv: nn.Conv2d) -> _Weights:
    weight = conv.weight.detach()
    taps = weight.permute(2, 3, 1, 0).reshape(-1, conv.in_channels, conv.out_channels).contiguous()
    bias = conv.bias
    return _Weights(taps, weight.new_zeros(len(weight)) if bias is None else bias.detach().clone())


def _shape_made(conv: nn.Conv2d, x: Tensor) -> torch.Size:
    """The shape of what a convolution makes."""
    assert not isinstance(conv.padding, str)
    sides = [
        (side + 2 * padding - size) // stride + 1
        for side, padding, size, stride in zip(
            x.shape[2:], conv.padding, conv.kernel_size, conv.stride, strict=True
        )
    ]
    return torch.Size((len(x), conv.out_channels, *sides))


def _power_in(channels: int) -> int:
    """The largest power of two that divides a number of channels."""
    return channels & -channels
