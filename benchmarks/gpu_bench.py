"""What rows of `gpu.py` share: networks and images, sweeps, and the ways that are compared."""

from __future__ import annotations

import copy
import itertools
import math
import os
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any
from unittest import mock

import torch
import torch.nn.functional as F
from gpu_table import Row
from torch import Tensor, nn
from torch.autograd import DeviceType

import ensembles
from ensembles.engine import Materials, evaluate, pages, shared
from ensembles.engine import level as level_module
from ensembles.engine.evaluation import choose_engine
from ensembles.engine.sweep import Sweep
from ensembles.lesions import intact, single_deletions
from ensembles.numerics import exact_attention, exact_mathematics
from ensembles.training.whole_step import WholeStep

_ENOUGH = 9.0
"""Seconds of one contestant, after which there is no further round."""

PRECISIONS = ("bf16", "fp32", "tf32")


@dataclass
class Bench:
    """What the rows share."""

    device: torch.device
    tiny: bool
    rounds: int
    plan: str | None
    images: int
    kept: dict[str, Any] = field(default_factory=dict)

    @property
    def precisions(self) -> tuple[str, ...]:
        """Those that the device has."""
        return PRECISIONS if self.device.type == "cuda" else ("fp32", "bf16")

    def network(self, name: str) -> tuple[nn.Module, Any, Tensor, Tensor]:
        """A packaged network, as it is and taken apart, and images of digits."""
        if name not in self.kept:
            if self.tiny:
                model = ensembles.create_model(name.replace("110", "20"))
            else:
                model, _ = ensembles.load(name, "digits")
            digits = ensembles.dataset("digits", split="test")
            images, labels = next(digits.batches(len(digits)))
            net = ensembles.decompose(model, images[:2])
            times = math.ceil(self.images / len(images))
            images = images.repeat(times, 1, 1, 1)[: self.images]
            self.kept[name] = model.eval(), net, images, labels.repeat(times)[: self.images]
        found: tuple[nn.Module, Any, Tensor, Tensor] = self.kept[name]
        return found

    def wait(self) -> None:
        """Until the device has done everything."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def still_works(self) -> None:
        """Give back what a failure left in memory; raises where the device answers no more."""
        self.wait()
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
            float(torch.ones(1, device=self.device))

    def timed(self, name: str, work: Callable[[], Any], rounds: int | None = None) -> Row:
        """Rounds of some work."""
        times = []
        for _ in range(rounds or self.rounds):
            self.wait()
            begun = time.perf_counter()
            work()
            self.wait()
            times.append(time.perf_counter() - begun)
            if sum(times) > _ENOUGH:
                break
        return Row(name, statistics.median(times), min(times), max(times))


# Ways to run that are compared with the usual one


Way = Callable[[], AbstractContextManager[None]]


@contextmanager
def without_graphs() -> Iterator[None]:
    """Level order, step by step."""
    with mock.patch.object(level_module, "recorder_for", lambda _: None):
        yield


@contextmanager
def part_by_part() -> Iterator[None]:
    """Convolutions, sums and ReLUs one after the other."""
    with mock.patch.dict(os.environ, {"ENSEMBLES_FUSED_CONVOLUTIONS": "0"}):
        yield


@contextmanager
def channels_first() -> Iterator[None]:
    """Images with their channels before their pixels, in all engines."""

    def placed(part: nn.Module, device: torch.device, dtype: torch.dtype) -> nn.Module:
        return part.to(device=device, dtype=dtype)

    with ExitStack() as stack:
        stack.enter_context(mock.patch.object(shared, "_placed", placed))
        stack.enter_context(mock.patch.object(shared, "_channels_last", torch.Tensor.contiguous))
        stack.enter_context(mock.patch.object(pages, "settled", torch.Tensor.contiguous))
        yield


@contextmanager
def compiled_parts(backend: str, most: int | None = None) -> Iterator[None]:
    """Parts of a sweep compiled by torch; the first ones alone, for a trial of the program."""
    usual, made = shared._placed, itertools.count()

    def placed(part: nn.Module, device: torch.device, dtype: torch.dtype) -> nn.Module:
        there = usual(part, device, dtype)
        if most is not None and next(made) >= most:
            return there
        found: Any = torch.compile(there, dynamic=False, backend=backend)
        return found

    with mock.patch.object(shared, "_placed", placed), many_layouts():
        yield


@contextmanager
def compiled_steps(backend: str) -> Iterator[None]:
    """Residual blocks compiled by torch before a step of training is recorded."""
    usual = WholeStep.__init__

    def begun(self: WholeStep, *arguments: Any, **options: Any) -> None:
        usual(self, *arguments, **options)
        for block in self.blocks:
            block.compile(dynamic=False, backend=backend)

    with mock.patch.object(WholeStep, "__init__", begun), many_layouts():
        yield


def many_layouts() -> AbstractContextManager[Any]:
    """Networks have more layouts of blocks than the compiler expects of one function."""
    import torch._dynamo.config as settings

    held: AbstractContextManager[Any] = settings.patch(recompile_limit=64)
    return held


def swept(
    bench: Bench,
    about: tuple[Any, Tensor, Tensor],
    name: str,
    *,
    engine: str,
    precision: str,
    ways: Sequence[Way] = (),
    size: int | None = None,
    rounds: int | None = None,
) -> Row:
    """Every single deletion, by one engine in one way."""
    net, images, labels = about
    sweep = [intact(), *single_deletions(len(net), [b.index for b in net if not b.deletable])]
    told: dict[str, str] = {}
    how: dict[str, Any] = {"engine": engine, "precision": precision, "device": bench.device}
    with ExitStack() as stack:
        for way in ways:
            stack.enter_context(way())
        evaluate(net, [(images[:64], labels[:64])], sweep[:2], **how)
        row = bench.timed(
            name,
            lambda: evaluate(net, [(images, labels)], sweep, batch_size=size, told=told, **how),
            rounds,
        )
    row.value = f"{len(sweep) * len(images) / (row.seconds or 1):,.0f} lesions x images a second"
    row.note = str(told)
    return row


def steady(
    bench: Bench, about: tuple[Any, Tensor], name: str, *, engine: str, ways: Sequence[Way] = ()
) -> Row:
    """Every single deletion in bf16, by parts that have been made, compiled and recorded before."""
    net, images = about
    sweep = [intact(), *single_deletions(len(net))][: 2 if bench.tiny else None]
    with ExitStack() as stack:
        for way in ways:
            stack.enter_context(way())
        stack.enter_context(torch.inference_mode())
        stack.enter_context(exact_attention())
        runner = Sweep(
            net, sweep, Materials(net), engine=choose_engine(engine, bench.device),
            device=bench.device, dtype=torch.bfloat16,
        )  # fmt: skip
        batches = images.to(bench.device, torch.bfloat16).split(max(len(images) // 5, 4))

        def run() -> None:
            for batch in batches:
                for _, output in runner.run(batch, 0):
                    output.argmax(-1)

        begun = time.perf_counter()
        run()
        bench.wait()
        first = time.perf_counter() - begun
        row = bench.timed(name, run)
    row.value = f"{len(sweep) * len(images) / (row.seconds or 1):,.0f} lesions x images a second"
    row.note = f"{runner.told}; the first time {first:.1f} s"
    return row


GRAPHS = "level order with graphs"
CONTESTANTS: tuple[tuple[str, str, list[Way]], ...] = (
    (GRAPHS, "level", []),
    ("level order", "level", [without_graphs]),
    ("prefix engine", "prefix", []),
)


def kernels(bench: Bench, work: Callable[[], Any]) -> tuple[float, int]:
    """Seconds that the device computes during some work, and how many kernels that are."""
    kinds = [torch.profiler.ProfilerActivity.CPU]
    if bench.device.type == "cuda":
        kinds = [torch.profiler.ProfilerActivity.CUDA]
    with torch.profiler.profile(activities=kinds) as profiler:
        work()
        bench.wait()
    there = [event for event in profiler.events() or () if event.device_type == DeviceType.CUDA]
    return sum(event.self_device_time_total for event in there) / 1e6, len(there)


class ShortcutOnly(nn.Module):
    """A post-activation residual block without its branch."""

    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        self.shortcut = block.shortcut

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.shortcut(x))


def plain_loop(bench: Bench, precision: str, row_name: str) -> Row:
    """Some networks edited by hand, extrapolated to all."""
    model, net, images, labels = bench.network("resnet110")
    names = [block.name for block in net]
    chosen = [names[0], names[len(names) // 2], names[-1]]
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    batch, counts = 500, []

    def one(name: str) -> None:
        edited = copy.deepcopy(model)
        parent, _, last = name.rpartition(".")
        setattr(edited.get_submodule(parent), last, ShortcutOnly(edited.get_submodule(name)))
        edited.to(bench.device, dtype)
        for x, y in zip(images.split(batch), labels.split(batch), strict=True):
            answers = edited(x.to(bench.device, dtype)).argmax(1)
            counts.append(int((answers == y.to(bench.device)).sum()))

    with torch.inference_mode(), exact_mathematics(precision):
        one(chosen[0])
        row = bench.timed("", lambda: [one(name) for name in chosen[1:]], min(bench.rounds, 2))
    share = (len(names) + 1) / (len(chosen) - 1)
    times = [None if one is None else one * share for one in (row.seconds, row.least, row.most)]
    bench.kept[f"plain {precision}"] = times[0]
    return Row(row_name, *times)


def operations(net: Any) -> float:
    """Floating point operations of a sweep of single deletions, for an image: convolutions."""
    found = 0.0
    for block in net:
        runs = block.index  # intact, and without one of the blocks before it
        for module in block.modules():
            if isinstance(module, nn.Conv2d):
                pixels = math.prod(block.out_shape[1:])
                found += runs * 2.0 * module.weight.numel() * pixels
    return found
