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


def ways(channels: int, only_strips: bool = False) -> list[Way]:
    """All that are tried."""
    tiles = [kernel.Tiles(*one) for one in product(PIXELS, WARPS, STAGES)]
    parts = [made for made in (16, 32, 64) if made <= channels]
    strips = [
        strip_kernel.Strips(columns, made, warps, stages)
        for columns, made, warps, stages in product(COLUMNS, parts, STRIP_WARPS, STRIP_STAGES)
        if 16 <= columns // warps <= 64
    ]
    return strips if only_strips else [*strips, *tiles]


def choose(channels: int, way: Way) -> None:
    """Let convolutions of some channels be divided so."""
    strip_kernel.STRIPS.pop(channels, None)
    if isinstance(way, strip_kernel.Strips):
        strip_kernel.STRIPS[channels] = way
    else:
        kernel.TILES[channels] = way


def milliseconds(work: Callable[[], object], times: int = 20) -> float:
    """Time of some work on the device, the mean of several that are replayed from a CUDA graph.

    Started one by one, short kernels would wait for the host, and all ways would look alike.
    """
    work()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        for _ in range(times):
            work()
    begun, ended = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    graph.replay()
    begun.record()
    graph.replay()
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


def compile_all(processes: int, only_strips: bool) -> None:
    """Compile every way, several at a time."""
    begun = time.perf_counter()
    with ProcessPoolExecutor(processes, multiprocessing.get_context("spawn")) as pool:
        done = [
            pool.submit(compiled, *shape, way)
            for shape in SHAPES
            for way in ways(shape[0], only_strips)
        ]
        faults = [str(one.exception())[:200] for one in done if one.exception() is not None]
    print(f"{torch.cuda.get_device_name()}; torch {torch.__version__}")
    print(f"compiled {len(done)} ways in {time.perf_counter() - begun:.0f} s; failed: {faults}")


def compare(channels: int, side: int, rows: int, tried: list[Way]) -> Way:
    """Print the times of a shape; the best way."""
    x = images(channels, side, rows)
    first, second = pair(channels)
    least = 5 * x.numel() * x.element_size() / 1e6

    def one_by_one() -> Tensor:
        made: Tensor = second.conv(first.conv(x).relu_())
        return made.add_(x).relu_()

    expected, parts = one_by_one(), milliseconds(one_by_one)
    library = milliseconds(lambda: cudnn(first.conv, second.conv, x))
    print(
        f"{channels} channels, {side} x {side}, {rows} rows: parts {1e3 * parts:.0f} us, "
        f"cuDNN's fused calls {1e3 * library:.0f} us"
    )
    found = []
    for way in tried:
        choose(channels, way)
        one, other = pair(channels)
        try:
            deviation = float((other(one(x), x) - expected).abs().max())
            refuse_parts(one)
            ms = milliseconds(lambda one=one, other=other: other(one(x), x))  # type: ignore[misc]
        except Exception as error:
            print(f"  {way}: {str(error)[:100]}")
            continue
        found.append((ms, way, deviation))
    for kind in (strip_kernel.Strips, kernel.Tiles):
        those = [one for one in found if isinstance(one[1], kind)]
        for ms, way, deviation in sorted(those, key=time_of)[:5]:
            said = f"{1e3 * ms:.0f} us, {least / ms:.0f} GB/s"
            print(f"  {way}: {said}, differs by {deviation:.3g}")
    return min(found, key=time_of)[1]


def host_cost() -> None:
    """Print what starting one convolution costs the host."""
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


@torch.inference_mode()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=2000)
    parser.add_argument("--processes", type=int, default=12, help="that compile at a time")
    parser.add_argument("--strips", action="store_true", help="strips alone")
    parser.add_argument("--chosen", type=Path, help="file for the best strips")
    options = parser.parse_args()
    if not torch.cuda.is_available():
        parser.error("found no CUDA device; this measures one")
    compile_all(options.processes, options.strips)
    best = {
        channels: compare(channels, side, options.rows, ways(channels, options.strips))
        for channels, side in SHAPES
    }
    if options.chosen is not None:
        strips = {one: way for one, way in best.items() if isinstance(way, strip_kernel.Strips)}
        options.chosen.write_text(f"STRIPS = {strips}\n")
    host_cost()


if __name__ == "__main__":
    main()
