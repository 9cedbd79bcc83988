"""Recorded functions: warm-up, one recording a shape, buffers, and what cannot be recorded."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from ensembles.cuda_graphs import CudaGraphs, Recorder, Replayed, Reruns, recorder_for

CUDA = pytest.param(
    "cuda",
    marks=[
        pytest.mark.gpu,
        pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
    ],
)


@pytest.fixture(params=["cpu", CUDA])
def device(request: pytest.FixtureRequest) -> torch.device:
    return torch.device(request.param)


@pytest.fixture
def recorder(device: torch.device) -> Recorder:
    return CudaGraphs(device) if device.type == "cuda" else Reruns()


class Counted:
    """Adds to a sum in place; counts how often Python ran it."""

    def __init__(self, device: torch.device) -> None:
        self.total = torch.zeros(3, device=device)
        self.calls = 0

    def __call__(self, x: Tensor, y: Tensor) -> tuple[Tensor, list[Tensor]]:
        self.calls += 1
        self.total += x.sum(0)
        return x * 2 + y, [x.mean()]


def test_what_is_replayed_is_what_would_be_called(
    device: torch.device, recorder: Recorder, generator: torch.Generator
) -> None:
    recorded, plain = Counted(device), Counted(device)
    replayed = Replayed(recorded, recorder)
    for rows in (4, 4, 5, 4, 4, 5, 5, 4):
        x = torch.randn(rows, 3, generator=generator).to(device)
        y = torch.randn(rows, 3, generator=generator).to(device)
        (found, (mean,)), (expected, (other,)) = replayed(x, y), plain(x, y)
        torch.testing.assert_close(found, expected)
        torch.testing.assert_close(mean, other)
    torch.testing.assert_close(recorded.total, plain.total)
    assert replayed.refused is None
    if device.type == "cuda":
        assert recorded.calls == 2 * (2 + 1), "two ordinary calls and a recording for each shape"


def test_a_result_is_written_over_by_the_next_replay(
    device: torch.device, recorder: Recorder
) -> None:
    replayed = Replayed(lambda x: x + 1, recorder, warm_up=1)
    zero = torch.zeros(2, device=device)
    replayed(zero)
    first = replayed(zero)
    second = replayed(zero + 5)
    assert first is second
    assert first.tolist() == [6, 6]


def test_a_variant_is_recorded_by_itself(device: torch.device, recorder: Recorder) -> None:
    factor = [1.0]
    replayed = Replayed(lambda x: x * factor[0], recorder, warm_up=1)
    one = torch.ones(1, device=device)
    for factor[0] in (1.0, 3.0, 1.0, 3.0, 1.0):
        assert replayed(one, variant=factor[0]).tolist() == [factor[0]]


class Refusing(Reruns):
    """Records nothing."""

    def record(self, function: Callable[[], Any]) -> Callable[[], Any]:
        raise RuntimeError("operation not permitted\n when stream is capturing")


def test_what_cannot_be_recorded_goes_on_being_called() -> None:
    counted = Counted(torch.device("cpu"))
    replayed = Replayed(counted, Refusing(), warm_up=1)
    x = torch.ones(1, 3)
    for _ in range(4):
        assert replayed(x, x)[0].tolist() == [[3, 3, 3]]
    assert counted.calls == 4
    assert counted.total.tolist() == [4, 4, 4]
    assert replayed.refused == "operation not permitted when stream is capturing"


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_function_that_waits_for_the_device_is_not_recorded() -> None:
    device = torch.device("cuda")
    stream = torch.cuda.current_stream()
    waiting = Replayed(lambda x: x + float(x.sum()), CudaGraphs(device), warm_up=1)
    ones = torch.ones(2, device=device)
    for _ in range(3):
        assert waiting(ones).tolist() == [3, 3]
    assert waiting.refused
    assert torch.cuda.current_stream() == stream
    fine = Replayed(lambda x: x + 1, CudaGraphs(device), warm_up=1)
    for _ in range(3):
        assert fine(ones).tolist() == [2, 2]
    assert fine.refused is None


def test_the_processor_needs_no_recorder() -> None:
    assert recorder_for(torch.device("cpu")) is None
