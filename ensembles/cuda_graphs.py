"""Functions of tensors that are recorded once for each shape, and replayed from then on.

A network of many small layers leaves a GPU waiting for Python. A CUDA graph holds all launches of a
function; replaying it costs one. Where a function cannot be recorded (it waits for the device, or
memory runs out), it goes on being called, and says why.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

__all__ = ["CudaGraphs", "Recorder", "Replayed", "Reruns", "is_recording", "recorder_for"]


class Recorder(Protocol):
    """What records a function without arguments."""

    def warm(self, function: Callable[[], Any]) -> Any:
        """Call a function where it will be recorded, so that all that is lazy is there."""

    def record(self, function: Callable[[], Any]) -> Callable[[], Any]:
        """Record a function.

        Returns:
            What replays it. Its result are the same tensors each time, written anew.

        Raises:
            RuntimeError: When it cannot be recorded. Nothing has been computed then.
        """


class CudaGraphs:
    """Records CUDA graphs, all in one memory pool; they must not be replayed at the same time.

    Args:
        device: A CUDA device.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.stream: torch.cuda.Stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        self.pool = torch.cuda.graph_pool_handle()

    def warm(self, function: Callable[[], Any]) -> Any:
        """Call a function on the stream of the recordings."""
        current = torch.cuda.current_stream(self.device)
        self.stream.wait_stream(current)
        with torch.cuda.stream(self.stream):
            result = function()
        current.wait_stream(self.stream)
        return result

    def record(self, function: Callable[[], Any]) -> Callable[[], Any]:
        """Record a graph."""
        graph = torch.cuda.CUDAGraph()
        current = torch.cuda.current_stream(self.device)
        try:
            with (
                torch.cuda.device(self.device),
                torch.cuda.graph(
                    graph, pool=self.pool, stream=self.stream, capture_error_mode="thread_local"
                ),
            ):
                result = function()
        finally:
            torch.cuda.set_stream(current)  # a recording that fails leaves its own in place

        def replay() -> Any:
            graph.replay()
            return result

        return replay


class Reruns:
    """Stands in for graphs where there is no CUDA: a replay calls the function again."""

    def warm(self, function: Callable[[], Any]) -> Any:
        """Call a function."""
        return function()

    def record(self, function: Callable[[], Any]) -> Callable[[], Any]:
        """Keep a function, and buffers for its result; like a recording, it computes nothing."""
        buffers: list[Any] = []

        def replay() -> Any:
            made = function()
            if not buffers:
                buffers.append(made)
            for place, value in zip(_tensors(buffers[0]), _tensors(made), strict=True):
                if place is not value:
                    place.detach().copy_(value.detach())
            return buffers[0]

        return replay


def _tensors(result: Any) -> list[Tensor]:
    if isinstance(result, Tensor):
        return [result]
    return [inner for part in result or () for inner in _tensors(part)]


def recorder_for(device: torch.device) -> Recorder | None:
    """What records on a device; None where nothing is gained by it."""
    return CudaGraphs(device) if device.type == "cuda" else None


def is_recording() -> bool:
    """Whether what is launched now goes into a CUDA graph, and is computed when it is replayed."""
    begun = torch.cuda.is_initialized()  # type: ignore[no-untyped-call]
    return bool(begun) and torch.cuda.is_current_stream_capturing()


@dataclass
class _Recording:
    arguments: tuple[Tensor, ...]
    calls: int = 0
    replay: Callable[[], Any] | None = None


class Replayed:
    """A function of tensors that is recorded for each shape of its arguments.

    The first calls with a shape are ordinary ones: they warm up what is lazy (plans of
    convolutions, states of an optimiser). Later ones copy the arguments to where the recorded
    function reads them, and replay it.

    Args:
        function: Takes tensors on the recorder's device. It must not wait for the device, and all
            else that it reads or writes must stay where it is in memory.
        recorder: What records.
        warm_up: Ordinary calls with each shape, at least one.

    Attributes:
        refused: Why it could not be recorded, in a line; None where it could.
    """

    def __init__(
        self, function: Callable[..., Any], recorder: Recorder, *, warm_up: int = 2
    ) -> None:
        self.function = function
        self.recorder = recorder
        self.warm_up = warm_up
        self.refused: str | None = None
        self._recordings: dict[Hashable, _Recording] = {}

    def __call__(self, *arguments: Tensor, variant: Hashable = None) -> Any:
        """Call the function, or replay it.

        Args:
            arguments: As the function takes them.
            variant: What else decides what the function does; each variant is recorded by itself.

        Returns:
            What the function returns. The tensors of a replay are written over by the next one of
            the same shape.
        """
        if self.refused is not None:
            return self.function(*arguments)
        shape = (variant, *((one.shape, one.stride(), one.dtype) for one in arguments))
        recording = self._recordings.get(shape)
        if recording is None:
            recording = _Recording(tuple(map(torch.empty_like, arguments)))
            self._recordings[shape] = recording
        for place, value in zip(recording.arguments, arguments, strict=True):
            place.copy_(value, non_blocking=True)
        recording.calls += 1
        if recording.calls <= self.warm_up:
            return self.recorder.warm(lambda: self.function(*recording.arguments))
        if recording.replay is None:
            try:
                recording.replay = self.recorder.record(lambda: self.function(*recording.arguments))
            except RuntimeError as error:
                self.refused = " ".join(str(error).split())[:200] or type(error).__name__
                self._recordings.clear()
                return self.function(*arguments)
        return recording.replay()
