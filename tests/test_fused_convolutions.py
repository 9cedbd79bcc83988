"""Convolutions with the sum and the ReLU after them, as steps of a graph."""

from __future__ import annotations

import copy
import sys
from functools import partial
from typing import Any

import pytest
import torch
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from networks import build, images_for, random_networks
from sweeps import chains, every_kind
from test_engine_kinds import agreeing, materials_for
from torch import Tensor, fx, nn

from ensembles.decomposition import decompose
from ensembles.engine import Materials, evaluate, shared
from ensembles.engine.checked_kernel import CheckedKernel
from ensembles.engine.fused_convolutions import FusedConvolution, fuse_convolutions, kernel_for
from ensembles.engine.graphs import ALIKE
from ensembles.engine.shared import SharedPrefixes
from ensembles.errors import UsageError
from ensembles.lesions import Delete, Intact


class StandIn:
    """Computes the three at once by torch, and counts how often; some shapes it refuses."""

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


def checked(_: object, __: object, widest: int = 10_000) -> CheckedKernel:
    """What the engines get in place of a kernel for GPUs."""
    return CheckedKernel(StandIn(widest))


@settings(max_examples=6, deadline=None, phases=[Phase.explicit, Phase.reuse, Phase.generate])
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
        patch.setattr(shared, "kernel_for", partial(checked, widest=widest))
        for engine in ("prefix", "level"):
            told: dict[str, str] = {}
            fast = evaluate(
                net, data, sweep, batch_size=batch_size, engine=engine, told=told, **options
            )
            assert agreeing(fast, slow)
            assert "(" not in told["convolutions"]  # nothing was refused


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
    kernel = StandIn()
    monkeypatch.setattr(shared, "kernel_for", lambda *_: CheckedKernel(kernel))
    model = build([(kind, 6, 1), (kind, 6, 1)])
    net = decompose(model, images_for(model, 2)[0])
    programs = [one.program(len(net)) for one in (Intact(), Delete((2,)))]
    engine = SharedPrefixes(net, programs, Materials(net), torch.device("cpu"), torch.float32)
    state = engine.stem(images_for(model, 3)[0])
    for key, expected in ((("run", 2), intact), (("bypass", 2), deleted)):
        if key in engine.parts:
            kernel.runs.clear()
            with torch.no_grad():
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
        fuse_convolutions(fast, CheckedKernel(kernel))
        fast.graph.lint()
        fast.recompile()
        x = torch.randn(3, 2, 5, 5)
        with torch.no_grad():
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
    kernel = CheckedKernel(StandIn())
    memo: dict[int, Any] = {}
    one, other = (
        copy.deepcopy(FusedConvolution(conv, kernel, relu=relu), memo) for relu in (True, False)
    )
    assert one.conv is other.conv is not conv
    assert one.kernel is kernel
    assert (one.relu, other.relu) == (True, False)


def test_a_convolution_that_is_watched_stays_as_it_is() -> None:
    written = Written()
    seen = []
    written.root["a"].register_forward_hook(lambda *_: seen.append(True))
    made = written.graph.call_module("a", (written.x,))
    _, kernel = written.fused(written.graph.call_module("relu", (made,)))
    assert not kernel.runs and len(seen) == 2


def test_sums_with_a_factor_stay_as_they_are() -> None:
    written = Written()
    made = written.graph.call_module("bare", (written.x,))
    end = written.add(made, written.x)
    end.kwargs = {"alpha": 2}
    _, kernel = written.fused(end)
    assert not kernel.runs


CUDA, BF16 = torch.device("cuda"), torch.bfloat16


@pytest.fixture
def nvidia(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """A machine that looks as if it had a GPU for which convolutions are fused."""
    monkeypatch.delenv("ENSEMBLES_FUSED_CONVOLUTIONS", raising=False)
    monkeypatch.setattr(torch.version, "hip", None)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: (8, 0))
    return monkeypatch


def test_convolutions_are_fused_where_the_kernel_was_made_for(nvidia: pytest.MonkeyPatch) -> None:
    pytest.importorskip("triton")
    assert isinstance(kernel_for(CUDA, BF16), CheckedKernel)
    assert kernel_for(torch.device("cpu"), BF16) is None
    assert kernel_for(CUDA, torch.float32) is None
    nvidia.setattr(torch.cuda, "get_device_capability", lambda _: (7, 5))
    assert kernel_for(CUDA, BF16) is None


def test_nothing_is_fused_on_a_gpu_of_another_maker(nvidia: pytest.MonkeyPatch) -> None:
    nvidia.setattr(torch.version, "hip", "6.4")
    assert kernel_for(CUDA, BF16) is None


def test_nothing_is_fused_without_triton(nvidia: pytest.MonkeyPatch) -> None:
    nvidia.setitem(sys.modules, "ensembles.engine.convolution_kernel", None)
    assert kernel_for(CUDA, BF16) is None


def test_a_variable_switches_it_off(nvidia: pytest.MonkeyPatch) -> None:
    pytest.importorskip("triton")
    nvidia.setenv("ENSEMBLES_FUSED_CONVOLUTIONS", "1")
    assert kernel_for(CUDA, BF16) is not None
    nvidia.setenv("ENSEMBLES_FUSED_CONVOLUTIONS", "0")
    assert kernel_for(CUDA, BF16) is None
    nvidia.setenv("ENSEMBLES_FUSED_CONVOLUTIONS", "no")
    with pytest.raises(UsageError, match="ENSEMBLES_FUSED_CONVOLUTIONS is 'no'; expected 0 or 1"):
        kernel_for(CUDA, BF16)
