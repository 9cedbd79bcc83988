"""How the fused convolution divides its work: the times of each way, on one GPU.

    python benchmarks/convolution_tiles.py --rows 2000

For each shape of a ResNet's blocks (post-activation, bfloat16): the block part by part, by cuDNN's
fused calls, then as two fused convolutions of ours in each way of dividing them: place by place of
the window (`Tiles`), and by strips of columns (`Strips`). Beside each time the traffic that it
amounts to, were each number read and written once. The best ways stand in
`ensembles/engine/convolution_kernel.py` and `strip_kernel.py`. `--chosen FILE` writes the best
strips there.
"""

from __future__ import annotations

import argparse
import multiprocessing
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from itertools import product
from pathlib import Path

import torch
from torch import Tensor, nn

from ensembles.engine import convolution_kernel as kernel
from ensembles.engine import strip_kernel
from ensembles.engine.checked_kernel import CheckedKernel
from ensembles.engine.fused_convolutions import FusedConvolution

SHAPES = ((16, 32), (32, 16), (64, 8))
"""Channels, and pixels of a side."""

PIXELS, WARPS, STAGES = (64, 128, 256), (4, 8), (0, 2, 3, 4)
COLUMNS, STRIP_WARPS, STRIP_STAGES = (32, 64, 128), (1, 2, 4, 8), (1, 2, 3)

Way = kernel.Tiles | strip_kernel.Strips


def ways(channels: int) -> list[Way]:
    """All that are tried."""
    tiles = [kernel.Tiles(*one) for one in product(PIXELS, WARPS, STAGES)]
    parts = [channels] if channels < 64 else [channels, channels // 2]
    strips = [
        strip_kernel.Strips(columns, made, warps, stages)
        for columns, made, warps, stages in product(COLUMNS, parts, STRIP_WARPS, STRIP_STAGES)
        if 16 <= columns // warps <= 64
    ]
    return [*strips, *tiles]


def choose(channels: int, way: Way) -> None:
    """Let convolutions of some channels be divided so."""
    strip_kernel.STRIPS.pop(channels, None)
    if isinstance(way, strip_kernel.Strips):
        strip_kernel.STRIPS[channels] = way
    else:
        kernel.TILES[channels] = way


def milliseconds(work: Callable[[], object], times: int = 20) -> float:
    """Time of some work on the device, the mean of several."""
    work()
    begun, ended = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    begun.record()
    for _ in range(times):
        work()
    ended.record()
    torch.cuda.synchronize()
    return float(begun.elapsed_time(ended)) / times


def pair(channels: int) -> tuple[FusedConvolution, FusedConvolution]:
    """The two convolutions of a block, whose first answers are checked."""
    torch.manual_seed(0)
    by = CheckedKernel(kernel.FewChannels())
    convs = [nn.Conv2d(channels, channels, 3, padding=1) for _ in range(2)]
    for conv in convs:
        conv.to("cuda", torch.bfloat16).to(memory_format=torch.channels_last)
    first, second = (FusedConvolution(conv, by, relu=True) for conv in convs)
    return first, second


def images(channels: int, side: int, rows: int) -> Tensor:
    """Activations after a ReLU."""
    made = torch.randn(rows, channels, side, side, device="cuda", dtype=torch.bfloat16)
    return made.relu_().contiguous(memory_format=torch.channels_last)


@torch.inference_mode()
def compiled(channels: int, side: int, way: Way) -> None:
    """Compile one way, which the next process finds on the disk."""
    choose(channels, way)
    first, second = pair(channels)
    x = images(channels, side, 5)
    second(first(x), x)
    torch.cuda.synchronize()
    refuse_parts(first)


def time_of(found: tuple[float, Way, float]) -> float:
    """What ways are sorted by."""
    return found[0]


def cudnn(first: nn.Module, second: nn.Module, x: Tensor) -> Tensor:
    """The block by torch's calls of cuDNN's fused convolutions."""
    ones = (1, 1)
    made = torch.cudnn_convolution_relu(x, first.weight, first.bias, ones, ones, ones, 1)  # type: ignore[arg-type]
    return torch.cudnn_convolution_add_relu(
        made, second.weight, x, 1.0, second.bias, ones, ones, ones, 1  # type: ignore[arg-type]
    )  # fmt: skip


def refuse_parts(layer: FusedConvolution) -> None:
    """Raise where something went part by part, which is not what is to be timed."""
    if "part by part" in layer.kernel.told:
        raise RuntimeError(layer.kernel.told)


@torch.inference_mode()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=2000)
    parser.add_argument("--processes", type=int, default=12, help="that compile at a time")
    parser.add_argument("--chosen", type=Path, help="file for the best strips")
    options = parser.parse_args()
    if not torch.cuda.is_available():
        parser.error("found no CUDA device; this measures one")
    begun = time.perf_counter()
    with ProcessPoolExecutor(options.processes, multiprocessing.get_context("spawn")) as pool:
        done = [pool.submit(compiled, *shape, way) for shape in SHAPES for way in ways(shape[0])]
        faults = [str(one.exception())[:200] for one in done if one.exception() is not None]
    print(f"{torch.cuda.get_device_name()}; torch {torch.__version__}")
    print(f"compiled {len(done)} in {time.perf_counter() - begun:.0f} s; failed: {faults}")
    best: dict[int, Way] = {}
    for channels, side in SHAPES:
        x = images(channels, side, options.rows)
        first, second = pair(channels)
        least = 5 * x.numel() * x.element_size() / 1e6

        def one_by_one(
            x: Tensor = x, convs: tuple[nn.Module, ...] = (first.conv, second.conv)
        ) -> Tensor:
            made: Tensor = convs[1](convs[0](x).relu_())
            return made.add_(x).relu_()

        expected, ms = one_by_one(), milliseconds(one_by_one)
        by_cudnn = milliseconds(lambda x=x, f=first.conv, s=second.conv: cudnn(f, s, x))  # type: ignore[misc]
        print(
            f"{channels} channels, {side} x {side}, {options.rows} rows: parts {1e3 * ms:.0f} us, "
            f"cuDNN's fused calls {1e3 * by_cudnn:.0f} us"
        )
        found = []
        for way in ways(channels):
            choose(channels, way)
            first, second = pair(channels)
            try:
                deviation = float((second(first(x), x) - expected).abs().max())
                refuse_parts(first)
                ms = milliseconds(lambda x=x, f=first, s=second: s(f(x), x))  # type: ignore[misc]
            except Exception as error:
                print(f"  {way}: {str(error)[:100]}")
                continue
            found.append((ms, way, deviation))
        for kind in (strip_kernel.Strips, kernel.Tiles):
            those = sorted(
                (one for one in found if isinstance(one[1], kind)), key=lambda one: one[0]
            )
            for ms, way, deviation in those[:5]:
                said = f"{1e3 * ms:.0f} us, {least / ms:.0f} GB/s"
                print(f"  {way}: {said}, differs by {deviation:.3g}")
        (_, way, _) = min(found, key=time_of)
        if isinstance(way, strip_kernel.Strips):
            best[channels] = way
    if options.chosen is not None:
        options.chosen.write_text(f"STRIPS = {best}\n")
    x = images(16, 8, 1)
    first, _ = pair(16)
    for name, layer in (("fused", first), ("torch's", first.conv)):
        layer(x)
        torch.cuda.synchronize()
        begun = time.perf_counter()
        for _ in range(500):
            layer(x)
        took = time.perf_counter() - begun
        torch.cuda.synchronize()
        print(f"a call of the {name} convolution costs the host {took / 500 * 1e6:.1f} us")


if __name__ == "__main__":
    main()
