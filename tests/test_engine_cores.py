"""Rows side by side on the processor's threads: the same numbers, and none counted twice."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from networks import decomposable, images_for, random_networks
from sweeps import every_kind
from torch import nn

from ensembles.decomposition import Decomposition, decompose
from ensembles.engine import Materials, evaluate
from ensembles.engine.evaluation import Sums
from ensembles.engine.shared import SharedPrefixes
from ensembles.errors import EvaluationError
from ensembles.lesions import Intact, Lesion, single_deletions
from ensembles.metrics import Outcome


@contextmanager
def threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
        assert torch.get_num_threads() == count
    finally:
        torch.set_num_threads(before)


def measured(
    model: nn.Module, sweep: list[Lesion], count: int, size: int | None = 7
) -> list[Outcome]:
    return on(decompose(model, images_for(model, 2)[0]), model, sweep, count, size)


def on(
    net: Decomposition, model: nn.Module, sweep: list[Lesion], count: int, size: int | None = 7
) -> list[Outcome]:
    images, labels = images_for(model, 12)
    given = Materials(net, reference=[(images, labels)], initial=net, sources={"other": net})
    with threads(count):
        return evaluate(
            net, [(images, labels)], sweep, metrics=("top1", "loss", "kl"), batch_size=size,
            predictions=True, materials=given, device="cpu",
        )  # fmt: skip


def same(found: list[Outcome], expected: list[Outcome]) -> bool:
    for one, other in zip(found, expected, strict=True):
        assert (one.lesion, one.total, one.nonfinite) == (other.lesion, other.total, 0)
        assert (one.predictions == other.predictions).all()
        assert one.states["top1"] == other.states["top1"]
        for name in ("loss", "kl"):
            assert one.states[name] == pytest.approx(other.states[name], rel=1e-4, abs=1e-6)
    return True


@settings(max_examples=6, deadline=None)
@given(random_networks(), st.integers(2, 4), st.sampled_from([None, 1, 3, 11]))
def test_the_number_of_threads_changes_no_count(model, count, size):
    images = images_for(model, 2)[0]
    net = decompose(model, images)
    sweep = every_kind(net, each=1)
    assert same(on(net, model, sweep, count, size), on(net, model, sweep, 1, size))


def test_each_thread_takes_rows_of_its_own_and_runs_operations_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen, real = [], SharedPrefixes.run
    meet = threading.Barrier(2, timeout=60)  # two are at work at once, or this fails

    def run(self: SharedPrefixes, inputs: Any) -> Any:
        meet.wait()
        seen.append((len(inputs), torch.get_num_threads(), torch.is_inference_mode_enabled()))
        yield from real(self, inputs)

    model = decomposable()
    monkeypatch.setattr(SharedPrefixes, "run", run)
    measured(model, [Intact(), *single_deletions(4)], 2, size=12)
    assert sorted(seen) == [(6, 1, True), (6, 1, True)]


@pytest.mark.parametrize("place", ["run", "blank", "outputs"])
def test_memory_that_runs_out_for_one_thread_loses_and_doubles_nothing(
    monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    model, sweep = decomposable(), [Intact(), *single_deletions(4)]
    net = decompose(model, images_for(model, 2)[0])
    expected, left, lock = on(net, model, sweep, 3), [-1], threading.Lock()
    run, blank = SharedPrefixes.run, Sums.blank

    def tick() -> None:
        with lock:
            left[0] -= 1
            if left[0] == -1:
                raise torch.OutOfMemoryError("CUDA out of memory (injected)")

    def breaking_run(self: SharedPrefixes, inputs: Any) -> Any:
        if place == "run":
            tick()
        for result in run(self, inputs):
            if place == "outputs":
                tick()
            yield result

    def breaking_blank(self: Sums) -> Sums:
        if place == "blank":
            tick()
        return blank(self)

    monkeypatch.setattr(SharedPrefixes, "run", breaking_run)
    monkeypatch.setattr(Sums, "blank", breaking_blank)
    missed = 0
    for call in range(32):
        left[0] = call
        assert same(on(net, model, sweep, 3), expected)
        missed += left[0] >= 0
        if missed:
            break
    assert missed and call >= 6  # each of the calls has failed once


def test_what_is_not_finite_is_counted_over_all_threads() -> None:
    model = decomposable()
    images, labels = images_for(model, 8)
    net = decompose(model, images[:2])
    images[[1, 6]] = torch.inf
    with threads(2), pytest.raises(EvaluationError, match="not finite for 2 of 8 images"):
        evaluate(net, [(images, labels)], [Intact()], device="cpu", batch_size=8)
