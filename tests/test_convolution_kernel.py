"""The kernel for convolutions of few channels: by Triton's interpreter, and on a GPU."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from ensembles.engine.checked_kernel import CheckedKernel
from ensembles.engine.fused_convolutions import FusedConvolution, kernel_for

INTERPRETED = """
import torch
from torch import nn
from ensembles.engine.checked_kernel import CheckedKernel
from ensembles.engine import convolution_kernel
from ensembles.engine.convolution_kernel import FewChannels

torch.manual_seed(0)
torch.set_grad_enabled(False)
kernel = FewChannels()
right = CheckedKernel(kernel)

def near(made, expected):
    close = 1e-5 if made.dtype == torch.float32 else 2e-2
    torch.testing.assert_close(made, expected, rtol=close, atol=close, equal_nan=True)

for c, k, shape, size, stride, padding, bias, adds, relu, rows in (
    (16, 16, (8, 8), 3, 1, 1, True, False, True, 5),
    (16, 32, (9, 9), 3, 2, 1, True, True, True, 2),
    (48, 16, (5, 5), 1, 1, 0, False, True, False, 3),
    (64, 64, (4, 4), 3, 1, 1, True, True, True, 1),
    (32, 32, (6, 7), (3, 5), 1, (1, 2), True, True, True, 2),
    (16, 32, (8, 8), 1, 2, 0, True, False, False, 1),
):
    for dtype in (torch.float32, torch.float16):  # Triton interprets no products in bfloat16
        conv = nn.Conv2d(c, k, size, stride, padding, bias=bias).to(dtype)
        x = torch.randn(rows, c, *shape, dtype=dtype)
        expected = conv(x)
        other = torch.randn_like(expected) if adds else None
        expected = expected if other is None else expected + other
        expected = expected.relu() if relu else expected
        made = right.run(conv, x, other, relu=relu)
        assert made is not None, right.told
        near(made, expected)
        assert made.is_contiguous(memory_format=torch.channels_last)
        x[-1, 0, 0, 0] = float("nan")
        x[-1, 1, -1, -1] = float("inf")
        odd = right.run(conv, x, other, relu=relu)
        assert odd[-1, :, 0, 0].isnan().all() and not odd[-1].isfinite().all()
        if rows > 1:
            one = right.run(conv, x[:1], None if other is None else other[:1], relu=relu)
            assert torch.equal(one, made[:1])
        assert kernel.run(conv, x, torch.zeros(1, dtype=dtype), relu=relu) is None
        assert kernel.run(conv, x.double(), None, relu=relu) is None
assert right.told == "12 shapes fused with sums and ReLUs"

conv = nn.Conv2d(16, 16, 3, padding=1)
x = torch.randn(2, 16, 6, 6)
near(kernel.run(conv, x.flip(3).mT, x.mT, relu=True), (conv(x.flip(3).mT) + x.mT).relu())
apart = torch.randn(2 * 16 * 6 * 6 + 1)[1:].view(2, 16, 6, 6)
near(kernel.run(conv, apart, apart, relu=True), (conv(apart) + apart).relu())
alike = x[:1, :, :1, :1].expand(3, 16, 5, 4)
near(kernel.run(conv, alike, None, relu=False), conv(alike))
many = torch.zeros(1).expand(1 << 20, 16, 16, 16)
assert kernel.run(conv, many, None, relu=True) is None
assert kernel.run(nn.Conv2d(16, 16, 9), x, None, relu=True) is None
convolution_kernel.is_recording = lambda: True
assert kernel.run(conv, x, None, relu=True) is not None
assert kernel.run(nn.Conv2d(16, 16, 3), x, None, relu=True) is None
"""


def test_the_kernel_computes_what_torch_does() -> None:
    pytest.importorskip("triton")
    done = subprocess.run(
        [sys.executable, "-c", INTERPRETED],
        capture_output=True, text=True, check=False, env=os.environ | {"TRITON_INTERPRET": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


COMPILED = """
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from ensembles.engine import convolution_kernel, strip_kernel

def compiled(kernel, number, options, **given):
    names = kernel.arg_names
    kinds = {one: "i32" if one == number else "constexpr" if one in given else "*bf16"
             for one in names}
    source = ASTSource(
        fn=kernel, signature=kinds,
        constexprs={(names.index(one),): value for one, value in given.items()},
        attrs={(place,): [["tt.divisibility", 16]] for place, one in enumerate(names)
               if kinds[one] == "*bf16"},
    )
    made = triton.compile(
        source, target=GPUTarget("cuda", 80, 32),
        options={"num_warps": options[0], "num_stages": options[1], "enable_fp_fusion": False},
    )
    text = made.asm["ptx"]
    print("mma.sync" in text, ".local" in text, made.metadata.shared < 99 * 1024)

tiles, strips = convolution_kernel.TILES[32], strip_kernel.STRIPS[32]
both = {"channels": 32, "out_channels": 32, "adds": True, "relu": True, "height": 16, "width": 16}
compiled(
    convolution_kernel._convolution, "pixels", (tiles.warps, 1), out_height=16, out_width=16,
    kernel_height=3, kernel_width=3, stride=1, padding_height=1, padding_width=1,
    tile=tiles.pixels, chunk=32, made=32, unrolled=False, **both,
)
compiled(
    strip_kernel._strips, "images", (strips.warps, strips.stages), made=strips.made,
    columns=strips.columns, stages=strips.stages, **both,
)
"""


def test_the_kernel_compiles_for_a_card_that_is_not_here(tmp_path: Path) -> None:
    """Products go to tensor cores, no register is spilled, most cards have the memory."""
    pytest.importorskip("triton", minversion="3.3")
    if sys.platform != "linux":
        pytest.skip("Triton brings no assembler there")
    done = subprocess.run(
        [sys.executable, "-c", COMPILED], capture_output=True, text=True, check=False,
        env=os.environ | {"TRITON_CACHE_DIR": str(tmp_path)},
    )  # fmt: skip
    assert (done.stdout, done.returncode) == (2 * "True False True\n", 0), done.stderr


def test_the_kernel_takes_no_convolution_of_another_form() -> None:
    pytest.importorskip("triton")
    from ensembles.engine.convolution_kernel import FewChannels

    kernel = CheckedKernel(FewChannels())
    assert kernel.fits(nn.Conv2d(16, 64, 3, 2, 1))
    for conv in (
        nn.Conv2d(3, 16, 3), nn.Conv2d(16, 24, 3), nn.Conv2d(16, 128, 3),
        nn.Conv2d(16, 16, 3, groups=2), nn.Conv2d(16, 16, 3, dilation=2),
        nn.Conv2d(16, 16, 3, stride=(1, 2)), nn.Conv2d(16, 16, 3, padding="same"),
        nn.Conv2d(16, 16, 3, padding=1, padding_mode="circular"),
    ):  # fmt: skip
        assert not kernel.fits(conv)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize(("channels", "side", "stride"), [(16, 32, 1), (32, 16, 1), (64, 8, 1),
                                                          (16, 32, 2), (32, 16, 2)])  # fmt: skip
def test_the_kernel_on_a_gpu_computes_what_torch_does_row_by_row(
    channels: int, side: int, stride: int
) -> None:
    kernel = kernel_for(torch.device("cuda"), torch.bfloat16)
    assert kernel is not None
    torch.manual_seed(0)
    conv = nn.Conv2d(channels, channels * stride, 3, stride, 1).to("cuda", torch.bfloat16)
    assert kernel.fits(conv)
    x = torch.randn(37, channels, side, side, device="cuda", dtype=torch.bfloat16)
    with torch.inference_mode():
        other = torch.randn_like(conv(x))
        wide = torch.nn.functional.conv2d(
            x.double(), conv.weight.double(), conv.bias.double(), stride, 1
        )
        expected = (wide + other.double()).relu()
        layer = FusedConvolution(conv, kernel, relu=True)
        made = layer(x, other)
        torch.testing.assert_close(made.double(), expected, rtol=1e-2, atol=1e-2)
        assert kernel.told == "1 shape fused with sums and ReLUs"
        for rows in (slice(0, 1), slice(5, 21)):
            assert torch.equal(layer(x[rows], other[rows]), made[rows])
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            again = layer(x, other)
        graph.replay()
        assert torch.equal(again, made)
