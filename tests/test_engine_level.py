"""Level order: plans, pages, and rows that do not know with whom they share a batch."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from networks import build, decomposable, images_for
from sweeps import every_kind
from test_engine_memory import FailsAt
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from ensembles import lesion
from ensembles.decomposition import Decomposition, decompose
from ensembles.engine import Materials, default_batch_size, evaluate, sweep_batch_size
from ensembles.engine import level as level_module
from ensembles.engine.level import LevelOrder
from ensembles.engine.level_plan import START, LevelPlan, plan_levels
from ensembles.engine.pages import Piece, run_on_pages, whole_tensor
from ensembles.engine.prefix_tree import levels_of
from ensembles.engine.row_form import HEAD, STEM
from ensembles.lesions import (
    Delete,
    Intact,
    Lesion,
    Noise,
    Reorder,
    intact,
    random_deletions,
    single_deletions,
)
from ensembles.lesions.steps import Run

NONE: frozenset[int] = frozenset()
CPU = torch.device("cpu")


def planned(lesions: list[Lesion], n: int, idle: frozenset[int] = NONE) -> LevelPlan:
    sequences = [levels_of(one.program(n), NONE, idle) for one in lesions]
    return plan_levels(sequences, range(len(lesions)))


@st.composite
def sequences(draw: st.DrawFn) -> list[tuple[Any, ...]]:
    """Lesions over the same levels, of which each may take some."""
    levels = [(position, step) for position in range(1, 5) for step in range(3)]
    key = st.tuples(st.sampled_from(["bypass", "run"]), st.integers(1, 2))
    one = st.lists(st.sampled_from(levels), unique=True).flatmap(
        lambda some: st.tuples(*[st.tuples(st.just(level), key) for level in sorted(some)])
    )
    return draw(st.lists(one, min_size=1, max_size=10))


@given(sequences())
def test_a_plan_gives_each_lesion_its_own_steps_and_runs_each_once(sweep: list[Any]) -> None:
    plan = plan_levels(sweep, range(len(sweep)))
    alive: dict[int, tuple[Any, ...]] = {START: ()}
    seen, most = set(), 1
    for call in plan.calls:
        made = {node: (*alive[parent], call.key)
                for node, parent in zip(call.nodes, call.parents, strict=True)}  # fmt: skip
        most = max(most, len(alive) + len(made))
        assert not seen & set(made.values())
        seen |= set(made.values())
        alive |= made
        for node in call.done:
            del alive[node]
    assert set(alive) - {START} == set(plan.ends) - {START}
    found = {lesion: alive[end]
             for end, lesions in zip(plan.ends, plan.lesions, strict=True)
             for lesion in lesions}  # fmt: skip
    assert found == {n: tuple(key for _, key in one) for n, one in enumerate(sweep)}
    assert plan.most == most
    assert plan.evaluations == len(seen)


def test_single_deletions_are_one_call_a_level() -> None:
    n = 54
    sweep = [intact(), *single_deletions(n)]
    plan = planned(sweep, n, frozenset(range(1, n + 1)))
    assert [len(call.nodes) for call in plan.calls] == list(range(1, n + 1))
    assert plan.evaluations == n + n * (n - 1) // 2


def test_states_that_lie_beside_each_other_stay_so() -> None:
    """All that a level makes goes into the next call in its order; what is new stands behind."""
    plan = planned([intact(), *single_deletions(9)], 9, frozenset(range(1, 10)))
    for before, call in zip(plan.calls, plan.calls[1:], strict=False):
        assert call.parents[: len(before.nodes)] == before.nodes


def test_a_call_takes_states_in_the_order_in_which_they_were_made() -> None:
    sweep: list[Lesion] = [Reorder(((a, b),)) for a in range(1, 6) for b in range(a + 1, 7)]
    plan = planned([*sweep, *random_deletions(6, [2], 8, 1)], 6)
    places = {node: (made, place) for made, call in enumerate(plan.calls)
              for place, node in enumerate(call.nodes)}  # fmt: skip
    together = 0
    for call in plan.calls:
        taken = [places[parent] for parent in call.parents if parent != START]
        for one, other in pairwise(taken):
            if one[0] == other[0]:
                assert one[1] < other[1]
                together += other[1] == one[1] + 1
    assert together > 10


def test_reorderings_group_by_step() -> None:
    sweep: list[Lesion] = [Reorder(((a, b),)) for a in range(1, 6) for b in range(a + 1, 7)]
    plan = planned(sweep, 6)
    first = [call for call in plan.calls if call.parents[0] == START]
    assert len(first) == 6  # whichever block comes first, all lesions that begin with it are one


@given(
    st.lists(st.integers(1, 7), min_size=1, max_size=5), st.integers(1, 6), st.integers(1, 6),
    st.booleans(),
)  # fmt: skip
def test_pages_keep_the_rows_of_each_state(
    counts: list[int], size: int, second: int, padded: bool
) -> None:
    tensors = [torch.arange(c).reshape(c, 1) + 100.0 * n for n, c in enumerate(counts)]
    lengths = []

    def run(page: Tensor, owners: list[tuple[int, int, int]]) -> Tensor:
        lengths.append(len(page))
        assert sum(last - first for _, first, last in owners) <= len(page)
        return page + 0.5

    states = [[Piece(one, 0, len(one))] for one in tensors]
    once = run_on_pages(run, states, size, frozenset(), padded=padded)
    assert lengths == [size] * len(lengths) or not padded
    twice = run_on_pages(run, once[::-1], second, frozenset(), padded=padded)
    for rows, tensor in zip(twice[::-1], tensors, strict=True):
        assert torch.equal(whole_tensor(rows), tensor + 1.0)


def test_a_full_page_is_not_copied() -> None:
    page = torch.zeros(6, 2)
    halves = [[Piece(page, 0, 3)], [Piece(page, 3, 6)]]
    seen: list[Tensor] = []
    run_on_pages(lambda one, _: seen.append(one) or one, halves, 6, frozenset(), padded=True)
    assert seen[0] is page


# The engine


def engine_of(
    net: Decomposition, sweep: list[Lesion], dtype: torch.dtype, **how: Any
) -> LevelOrder:

    given = how.pop("materials", Materials(net))
    programs = [one.program(len(net)) for one in sweep]
    engine = LevelOrder(net, programs, given, CPU, dtype)
    for name, value in how.items():
        setattr(engine, name, value)
    return engine


@torch.inference_mode()
def outputs(engine: LevelOrder, images: Tensor, batch: int) -> list[Tensor]:
    """Logits of each lesion, from batches of a size."""
    parts = [
        {one: output.clone() for one, output in engine.run(part)} for part in images.split(batch)
    ]
    return [torch.cat([part[one] for part in parts]) for one in range(len(parts[0]))]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_logits_do_not_depend_on_the_cut_to_the_last_bit(dtype: torch.dtype) -> None:
    """Sizes are even: a product with five columns rounds by the place of a row on some machines."""
    model = build([("post", 8, 1), ("pre", 8, 1), ("post", 16, 2), ("post", 16, 1)], width=8)
    model.classifier = nn.Linear(16, 8)
    images, labels = images_for(model, 11)
    net = decompose(model.eval(), images[:2])
    given = Materials(net, reference=[(images, labels)] * 2)
    sweep = [one for one in every_kind(net, each=1) if not one.needs and one.kind != "noise"]
    how = {"padded": True, "materials": given}
    whole = outputs(engine_of(net, sweep, dtype, **how), images.to(dtype), 11)
    for width, batch in ((1, 11), (2, 4), (len(sweep), 3)):
        engine = engine_of(net, sweep, dtype, width=width, **how)
        for found, expected in zip(outputs(engine, images.to(dtype), batch), whole, strict=True):
            assert torch.equal(found, expected)
        assert not engine.fault


def test_the_pages_of_a_step_depend_on_the_network_alone() -> None:
    model = decomposable()
    images, _ = images_for(model, 9)
    net = decompose(model, images)
    found = []
    for sweep, rows in (([intact()], 9), ([intact(), Delete((1,)), Delete((2,))], 4)):
        engine = engine_of(net, list(sweep), torch.bfloat16)
        with torch.inference_mode():
            dict(engine.run(images[:rows].bfloat16()))
        assert engine.padded and engine._form is not None
        found.append([engine._page_rows(key, engine._form) for key in engine._form.elements or ()])
    assert found[0] == found[1]
    assert all(rows & (rows - 1) == 0 for rows in found[0])


class RowsBehind(nn.Module):
    """Keeps the rows of its inputs in the second dimension, as recurrent networks do."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.head = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = x.flatten(2).transpose(0, 1)
        x = x + torch.relu(self.first(x))
        x = x + torch.relu(self.second(x))
        return self.head(x.transpose(0, 1).mean(1))


def test_a_step_counts_what_it_reads_or_makes_whichever_is_more() -> None:
    model = build([("post", 6, 1), ("post", 8, 2), ("post", 4, 1)])
    images, _ = images_for(model, 4)
    net = decompose(model, images)
    form = engine_of(net, [intact()], torch.float32)._seen(images, torch.arange(4))
    expected = {STEM: max(math.prod(images.shape[1:]), math.prod(net.block(1).in_shape))}
    for block in net:
        ends = math.prod(block.in_shape), math.prod(block.out_shape)
        expected[Run(block.index).key] = max(ends)
    expected[HEAD] = max(math.prod(net.block(3).out_shape), net.num_classes)
    assert form.elements == expected
    assert expected[HEAD] < expected[Run(3).key] < expected[STEM]


def test_states_with_rows_elsewhere_go_depth_first_and_it_is_said() -> None:
    torch.manual_seed(0)
    images = torch.randn(7, 5, 2, 2)
    labels = torch.arange(7) % 3
    net = decompose(RowsBehind().eval(), images)
    sweep = [intact(), *single_deletions(len(net))]
    engine = engine_of(net, sweep, torch.float32)
    with torch.inference_mode():
        dict(engine.run(images))
    assert engine.fault == "the state after stem does not keep its rows in dimension 0"
    counts = [
        [one.correct for one in evaluate(net, [(images, labels)], sweep, engine=name, device="cpu")]
        for name in ("level", "direct")
    ]
    assert counts[0] == counts[1]


# Recordings


class Tape(TorchDispatchMode):
    """Tensor operations, to be done again into the same tensors, as a CUDA graph does it."""

    def __init__(self) -> None:
        super().__init__()
        self.entries: list[tuple[Any, Any, Any, Any]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        self.entries.append((func, args, kwargs or {}, out))
        return out

    def replay(self) -> None:
        for func, args, kwargs, out in self.entries:
            again = func(*args, **kwargs)
            if isinstance(out, Tensor) and again.data_ptr() != out.data_ptr():
                out.copy_(again)


class TapeRecorder:
    """A recorder that needs no CUDA."""

    def __init__(self, fault: str = "") -> None:
        self.fault, self.recorded = fault, 0

    def warm(self, function: Any) -> Any:
        return function()

    def record(self, function: Any) -> Any:
        with Tape() as tape:
            made = function()
        if self.fault:
            raise RuntimeError(self.fault)
        self.recorded += 1
        for output in made:
            output.fill_(torch.nan)  # a graph that was captured has not run

        def replay() -> Any:
            tape.replay()
            return made

        return replay


def test_a_slice_that_comes_again_is_replayed() -> None:
    model = decomposable()
    images, _ = images_for(model, 19)
    net = decompose(model, images[:2])
    sweep = [one for one in every_kind(net, each=1) if not one.needs and one.kind != "noise"]
    expected = outputs(engine_of(net, sweep, torch.float32, padded=True), images, 5)
    for width, slices in ((len(sweep), 1), (-(-len(sweep) // 3), 3)):
        engine = engine_of(net, sweep, torch.float32, padded=True, width=width)
        engine.recorder = recorder = TapeRecorder()
        for one, other in zip(outputs(engine, images, 5), expected, strict=True):  # 5, 5, 5, 4
            torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)
        assert recorder.recorded == slices
        assert engine.told == {"engine": "level", "graphs": "yes"}


def test_a_step_that_cannot_be_recorded_runs_and_the_provenance_says_so() -> None:
    model = decomposable()
    images, _ = images_for(model, 12)
    net = decompose(model, images[:2])
    sweep = [intact(), *single_deletions(len(net))]
    expected = outputs(engine_of(net, sweep, torch.float32), images, 4)
    engine = engine_of(net, sweep, torch.float32)
    engine.recorder = TapeRecorder("it waits for the host")
    for one, other in zip(outputs(engine, images, 4), expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)
    assert engine.told == {"engine": "level", "graphs": "no (it waits for the host)"}


def test_what_is_not_recorded_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    model = decomposable()
    images, labels = images_for(model, 8)
    net = decompose(model, images)
    monkeypatch.setattr(level_module, "recorder_for", lambda _: TapeRecorder())
    found = []
    noisy, plain = [Noise((1,), 0.5, seed=1)], [Intact(), Delete((1,))]
    cases: list[tuple[list[Any], int, int]] = [
        (noisy, 4, 1 << 30),
        (plain, 8, 1 << 30),
        (single_deletions(4) * 4, 4, 1),
        (plain, 2, 1 << 30),
    ]
    for sweep, batch, free in cases:
        monkeypatch.setattr(level_module, "free_bytes", lambda _, free=free: free)
        told: dict[str, str] = {}
        data = [(images, labels)]
        evaluate(net, data, sweep, engine="level", device="cpu", batch_size=batch, told=told)
        found.append(told["graphs"])
    assert found == [
        "no (noise is drawn for each batch)", "no (no batch came after the first)",
        "no (16 slices)", "yes",
    ]  # fmt: skip


def test_the_runs_of_a_store_tell_whether_slices_were_replayed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    model = decomposable()
    images, labels = images_for(model, 8)
    net = decompose(model, images)
    monkeypatch.setattr(level_module, "recorder_for", lambda _: TapeRecorder())
    for batch, graphs in ((2, "yes"), (8, "no (no batch came after the first)")):
        frame = lesion(
            net, [(images, labels)], engine="level", device="cpu", batch_size=batch,
            store=tmp_path / f"{batch}.db",
        )  # fmt: skip
        assert [run["graphs"] for run in frame.attrs["runs"]] == [graphs]
        assert frame.attrs["provenance"]["graphs"] == graphs


# Memory


def test_memory_that_runs_out_at_any_operation_changes_no_count() -> None:
    model = decomposable()
    images, labels = images_for(model, 6)
    net = decompose(model, images)
    sweep = [Intact(), *single_deletions(len(net)), *random_deletions(len(net), [2], 3, seed=0)]

    def measured() -> list[Any]:
        found = evaluate(
            net, [(images, labels)], sweep, metrics=["top1", "loss", "kl"], device="cpu",
            engine="level", batch_size=4, predictions=True,
        )  # fmt: skip
        return [(one.correct, one.total, one.predictions.tolist()) for one in found]  # type: ignore[union-attr]

    expected = measured()
    with FailsAt(0) as mode:
        measured()
    for number in range(1, mode.calls, 61):
        with FailsAt(number):
            assert measured() == expected, number


def test_slices_are_halved_down_to_one_lesion_and_then_the_rows(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = decomposable()
    images, labels = images_for(model, 8)
    net = decompose(model, images)
    sweep = [Intact(), *single_deletions(len(net))]
    data = [(images, labels)]
    expected = [one.correct for one in evaluate(net, data, sweep, device="cpu")]
    tried: list[tuple[int, int]] = []
    usual = LevelOrder._outputs

    def narrow(self: LevelOrder, plan: LevelPlan, inputs: Tensor, *rest: Any) -> Any:
        tried.append((sum(map(len, plan.lesions)), len(inputs)))
        if tried[-1][0] * len(inputs) > 4:
            raise torch.OutOfMemoryError("injected")
        return usual(self, plan, inputs, *rest)

    monkeypatch.setattr(LevelOrder, "_outputs", narrow)
    found = evaluate(net, data, sweep, engine="level", device="cpu")
    assert [one.correct for one in found] == expected
    assert tried[:4] == [(5, 8), (2, 8), (1, 8), (1, 4)]
    assert {rows for _, rows in tried[3:]} == {4}


def test_the_width_follows_the_free_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    model = decomposable()
    images, _ = images_for(model, 4)
    net = decompose(model, images)
    sweep = [Intact(), *random_deletions(len(net), [2, 3], 20, seed=1)]
    widths = []
    for free in (1 << 30, 1 << 17, 1):
        monkeypatch.setattr(level_module, "free_bytes", lambda _, free=free: free)
        engine = engine_of(net, sweep, torch.float32)
        with torch.inference_mode():
            assert len(dict(engine.run(images))) == len(sweep)
        widths.append(engine.width)
    assert widths[0] == len(sweep) > widths[1] > widths[2] == 1


ALONE = """
import json, resource, sys
sys.path.insert(0, "tests")
import torch
import ensembles
from ensembles.engine import evaluate, level
from ensembles.lesions import intact, random_deletions

torch.set_num_threads(1)
torch.manual_seed(0)
model = ensembles.create_model("preresnet20", num_classes=10).eval()
images, labels = torch.rand(64, 3, 32, 32), torch.arange(64) % 10
net = ensembles.decompose(model, images[:2])
sweep = [intact(), *random_deletions(len(net), [1, 2, 3], 16, seed=0)]
tried = []
shrink = level.LevelOrder._shrink
level.LevelOrder._shrink = lambda self, width: (tried.append(width), shrink(self, width))
level.free_bytes = lambda device: 1 << 40
data = [(images, labels)]
def used():
    return int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
evaluate(net, data, sweep[:2], engine="level", device="cpu", batch_size=8)
if sys.argv[1] != "none":
    most = used() + int(sys.argv[1])
    resource.setrlimit(resource.RLIMIT_AS, (most, most))
found = evaluate(net, data, sweep, engine="level", device="cpu", batch_size=64)
print(json.dumps({"correct": [one.correct for one in found], "tried": tried}))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the limit of a process is Linux's")
def test_a_limit_on_the_memory_of_a_process_halves_the_slice_and_loses_nothing() -> None:
    def alone(limit: str) -> dict[str, Any]:
        command = [sys.executable, "-c", ALONE, limit]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    free, squeezed = alone("none"), alone(str(40 << 20))
    assert not free["tried"]
    assert squeezed["tried"]
    assert squeezed["correct"] == free["correct"]
    assert np.ptp(free["correct"]) > 0


class Shapes(list[Any]):
    """The blocks of a network, for what reads their shapes alone."""

    output_shape = (1000,)


def test_batches_of_a_sweep_on_cuda_fill_whole_pages() -> None:
    cuda = torch.device("cuda")
    for numbers, swept, usual in ((16 * 32 * 32, 8192, 2000), (64 * 112 * 112, 128, 167)):
        net: Any = Shapes([SimpleNamespace(in_shape=(numbers,), out_shape=(7,))])
        assert sweep_batch_size(net, cuda) == swept
        assert default_batch_size(net, cuda) == usual
        assert sweep_batch_size(net, CPU) == default_batch_size(net, CPU) < usual
