"""Convolutions with the sum and the ReLU after them: in graphs, and in the kernel for GPUs."""

from __future__ import annotations

import copy
import os
import subprocess
import sys
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from networks import build, images_for, random_networks
from sweeps import chains, every_kind
from test_engine_kinds import agreeing, materials_for
from torch import Tensor, fx, nn

from ensembles.decomposition import decompose
from ensembles.engine import Materials, evaluate, shared
from ensembles.engine.fused_convolutions import FusedConvolution, fuse_convolutions, kernel_for
from ensembles.engine.graphs import ALIKE
from ensembles.engine.shared import SharedPrefixes
from ensembles.lesions import Delete, Intact


class StandIn:
    """Computes the three at once by torch, and counts how often; some shapes it refuses."""

    told = "by a stand-in"

    def __init__(self, widest: int = 10_000) -> None:
        self.runs: list[tuple[bool, bool]] = []
        self.widest = widest

    def fits(self, conv: nn.Conv2d) -> bool:
        return True

    def run(self, conv: nn.Conv2d, x: Tensor, other: Tensor | None, *, relu: bool) -> Tensor | None:
        if x.shape[1] > self.widest:
            return None
        self.runs.append((other is not None, relu))
        out = conv(x)
        assert other is None or other.shape == out.shape
        out = out if other is None else out + other
        return out.clamp(min=0.0) if relu else out


@settings(max_examples=15, deadline=None)
@given(
    random_networks(max_blocks=4),
    st.integers(1, 12),
    st.integers(0, 1000),
    st.sampled_from([4, 6, 10_000]),
)
def test_fused_convolutions_measure_what_the_oracle_does(
    model: nn.Module, batch_size: int, seed: int, widest: int
) -> None:
    images, labels = images_for(model, 11, seed)
    net = decompose(model, images[:2])
    given, _, _ = materials_for(net, model)
    sweep = every_kind(net, seed)
    sweep += chains(sweep, net, seed)
    options: dict[str, Any] = {
        "device": "cpu", "metrics": ("top1", "loss", "kl", "agreement"), "materials": given,
    }  # fmt: skip
    data = [(images, labels)]
    slow = evaluate(net, data, sweep, engine="direct", **options)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shared, "kernel_for", lambda *_: StandIn(widest))
        for engine in ("prefix", "level"):
            told: dict[str, str] = {}
            fast = evaluate(
                net, data, sweep, batch_size=batch_size, engine=engine, told=told, **options
            )
            assert agreeing(fast, slow)
            assert told["convolutions"] == "by a stand-in"


@pytest.mark.parametrize(
    ("kind", "intact", "deleted"),
    [
        ("post", [(False, True), (True, True)], []),
        ("pre", [(False, True), (True, False)], []),
        ("bottleneck", [(False, True), (False, True), (True, True)], []),
    ],
)
def test_a_block_runs_as_few_steps(
    kind: str, intact: list[Any], deleted: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared, "kernel_for", lambda *_: StandIn())
    model = build([(kind, 6, 1), (kind, 6, 1)])
    net = decompose(model, images_for(model, 2)[0])
    programs = [one.program(len(net)) for one in (Intact(), Delete((2,)))]
    engine = SharedPrefixes(net, programs, Materials(net), torch.device("cpu"), torch.float32)
    kernel = engine.kernel
    assert isinstance(kernel, StandIn)
    state = engine.stem(images_for(model, 3)[0])
    for key, expected in ((("run", 2), intact), (("bypass", 2), deleted)):
        if key in engine.parts:
            kernel.runs.clear()
            engine.parts[key](state.clone())
            assert kernel.runs == expected


class Written:
    """A graph that is written by hand around two convolutions."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        self.root = nn.ModuleDict({
            "a": nn.Conv2d(2, 2, 3, padding=1), "b": nn.Conv2d(2, 2, 1), "bare":
            nn.Conv2d(2, 2, 1, bias=False), "relu": nn.ReLU(), "six": nn.ReLU6(),
        })  # fmt: skip
        self.graph = fx.Graph()
        self.x = self.graph.placeholder("x")

    def add(self, one: fx.Node, other: fx.Node, *, alike: bool = True) -> fx.Node:
        node = self.graph.call_function(torch.add, (one, other))
        node.meta[ALIKE] = alike
        return node

    def fused(self, end: Any) -> tuple[fx.GraphModule, StandIn]:
        """The graph with fused convolutions; it computes what it did before."""
        self.graph.output(end)
        plain = fx.GraphModule(self.root, self.graph)
        fast, kernel = fx.GraphModule(self.root, fx.Graph()), StandIn()
        fast.graph.output(fast.graph.graph_copy(self.graph, {}))
        for old, new in zip(self.graph.nodes, fast.graph.nodes, strict=True):
            new.meta.update(old.meta)
        for name, module in self.root.items():
            fast.add_submodule(name, module)
        fuse_convolutions(fast, kernel)
        fast.graph.lint()
        fast.recompile()
        x = torch.randn(3, 2, 5, 5)
        torch.testing.assert_close(fast(x), plain(x))
        return fast, kernel


def calls(module: fx.GraphModule) -> list[str]:
    return [node.op for node in module.graph.nodes if node.op.startswith("call")]


def test_the_sum_may_stand_on_either_side() -> None:
    for first in (True, False):
        written = Written()
        made = written.graph.call_module("a", (written.x,))
        pair = (made, written.x) if first else (written.x, made)
        end = written.graph.call_module("relu", (written.add(*pair),))
        module, kernel = written.fused(end)
        assert kernel.runs == [(True, True)]
        assert len(calls(module)) == 1


def test_two_convolutions_that_meet_are_one_with_the_other_added() -> None:
    written = Written()
    a, b = (written.graph.call_module(name, (written.x,)) for name in "ab")
    module, kernel = written.fused(written.graph.call_function(torch.relu, (written.add(a, b),)))
    assert sorted(kernel.runs) == [(False, False), (True, True)]
    assert len(calls(module)) == 2


@pytest.mark.parametrize("case", ["read twice", "another shape", "doubled", "bare", "six"])
def test_what_does_not_fit_is_left_as_it_is(case: str) -> None:
    written = Written()
    graph = written.graph
    made = graph.call_module("bare" if case == "bare" else "a", (written.x,))
    expected: list[tuple[bool, bool]] = [(False, False)]
    if case == "read twice":
        end: Any = (graph.call_module("relu", (made,)), made)
    elif case == "another shape":
        mean = graph.call_method("mean", (written.x, 1, True))
        end = graph.call_module("relu", (written.add(made, mean, alike=False),))
    elif case == "doubled":
        end = graph.call_module("relu", (written.add(made, made),))
    elif case == "bare":
        end, expected = graph.call_module("six", (made,)), []
    else:
        end = graph.call_module("six", (made,))
    _, kernel = written.fused(end)
    assert kernel.runs == expected


def test_fused_convolutions_share_weights_when_they_are_copied_together() -> None:
    conv = nn.Conv2d(2, 2, 1)
    kernel = StandIn()
    memo: dict[int, Any] = {}
    one, other = (
        copy.deepcopy(FusedConvolution(conv, kernel, relu=relu), memo) for relu in (True, False)
    )
    assert one.conv is other.conv is not conv
    assert one.kernel is kernel
    assert (one.relu, other.relu) == (True, False)


def test_nothing_is_fused_where_nothing_is_gained() -> None:
    assert kernel_for(torch.device("cpu"), torch.bfloat16) is None
    assert kernel_for(torch.device("cuda"), torch.float32) is None


INTERPRETED = """
import torch
from torch import nn
from ensembles.engine.convolution_kernel import FewChannels

kernel = FewChannels()
torch.manual_seed(0)
for c, k, shape, size, stride, padding, bias, adds, relu, rows in (
    (16, 16, (8, 8), 3, 1, 1, True, False, True, 5),
    (16, 32, (9, 9), 3, 2, 1, True, True, True, 2),
    (48, 16, (5, 5), 1, 1, 0, False, True, False, 3),
    (64, 64, (4, 4), 3, 1, 1, True, True, True, 1),
    (32, 32, (6, 7), (3, 5), 1, (1, 2), True, True, True, 2),
    (16, 32, (8, 8), 1, 2, 0, True, False, False, 1),
):
    conv = nn.Conv2d(c, k, size, stride, padding, bias=bias)
    x = torch.randn(rows, c, *shape)
    with torch.no_grad():
        expected = conv(x)
        other = torch.randn_like(expected) if adds else None
        expected = expected if other is None else expected + other
        expected = expected.relu() if relu else expected
        assert kernel.fits(conv)
        made = kernel.run(conv, x, other, relu=relu)
        torch.testing.assert_close(made, expected, rtol=1e-5, atol=1e-5)
        assert made.is_contiguous(memory_format=torch.channels_last)
        x[-1, 0, 0, 0] = float("nan")
        assert kernel.run(conv, x, other, relu=relu)[-1, :, 0, 0].isnan().all()
        if rows > 1:
            assert torch.equal(kernel.run(conv, x[:1], None if other is None else other[:1],
                                          relu=relu), made[:1])
        assert kernel.run(conv, x, torch.zeros(1), relu=relu) is None
"""


def test_the_kernel_computes_what_torch_does() -> None:
    pytest.importorskip("triton")
    done = subprocess.run(
        [sys.executable, "-c", INTERPRETED],
        capture_output=True, text=True, check=False, env=os.environ | {"TRITON_INTERPRET": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_the_kernel_takes_no_convolution_of_another_form() -> None:
    pytest.importorskip("triton")
    from ensembles.engine.convolution_kernel import FewChannels

    kernel = FewChannels()
    assert kernel.fits(nn.Conv2d(16, 64, 3, 2, 1))
    for conv in (
        nn.Conv2d(3, 16, 3), nn.Conv2d(16, 24, 3), nn.Conv2d(16, 128, 3),
        nn.Conv2d(16, 16, 3, groups=2), nn.Conv2d(16, 16, 3, dilation=2),
        nn.Conv2d(16, 16, 3, stride=(1, 2)), nn.Conv2d(16, 16, 3, padding="same"),
        nn.Conv2d(16, 16, 3, padding=1, padding_mode="circular"),
    ):  # fmt: skip
        assert not kernel.fits(conv)


def test_what_cannot_be_compiled_runs_part_by_part_and_is_told() -> None:
    pytest.importorskip("triton")
    from ensembles.engine import convolution_kernel

    tried = []

    def failing(*_: Any, **__: Any) -> None:
        tried.append(True)
        raise RuntimeError("no compiler\nis there")

    conv = nn.Conv2d(16, 16, 3, padding=1)
    layer = FusedConvolution(conv, convolution_kernel.FewChannels(), relu=True)
    x = torch.randn(2, 16, 4, 4)
    with pytest.MonkeyPatch.context() as patch, torch.no_grad():
        patch.setattr(convolution_kernel, "launch", failing)
        for _ in range(2):
            torch.testing.assert_close(layer(x, x), (conv(x) + x).relu())
        assert "but for 1 shapes (no compiler is there)" in layer.kernel.told
        assert len(tried) == 1
        patch.setattr(
            convolution_kernel, "launch",
            lambda *_, **__: (_ for _ in ()).throw(torch.OutOfMemoryError("out of memory")),
        )  # fmt: skip
        with pytest.raises(torch.OutOfMemoryError):
            layer(x)


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
        assert "but for" not in kernel.told
        for rows in (slice(0, 1), slice(5, 21)):
            assert torch.equal(layer(x[rows], other[rows]), made[rows])
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            again = layer(x, other)
        graph.replay()
        assert torch.equal(again, made)
