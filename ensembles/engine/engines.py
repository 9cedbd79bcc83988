"""Two ways to run a sweep over a batch: along shared prefixes, and one lesion after the other."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

import torch
from torch import Tensor, nn

from ensembles.decomposition import Decomposition
from ensembles.engine.folding import (
    compile_block,
    compile_bypass,
    compile_dropped,
    compile_part,
)
from ensembles.engine.prefix_tree import Step, plan_routes, steps_of
from ensembles.lesions import Bypass, Lesion, Run, Without

__all__ = ["Direct", "Engine", "SharedPrefixes"]


class Engine(Protocol):
    """Runs every lesion of a sweep on one batch."""

    evaluations: int
    """How many steps (blocks, mostly) a batch costs."""

    def run(self, images: Tensor) -> Iterator[tuple[int, Tensor]]:
        """Yield the number of each lesion and its logits."""


class Direct:
    """The oracle: each lesion is run whole, from the images, through the unfolded parts."""

    def __init__(
        self,
        net: Decomposition,
        lesions: Sequence[Lesion],
        device: torch.device,
        dtype: torch.dtype,
    ) -> None:
        self.net = net.to(device=device, dtype=dtype)
        self.programs = [lesion.program(len(net)) for lesion in lesions]
        self.dtype = dtype
        self.evaluations = sum(len(steps) for program in self.programs for steps in program)

    def run(self, images: Tensor) -> Iterator[tuple[int, Tensor]]:
        """Yield the number of each lesion and its logits."""
        for i, program in enumerate(self.programs):
            x = self.net.stem(images.to(self.dtype))
            for position, steps in enumerate(program, 1):
                before = self.net.block(position).before
                x = x if before is None else before(x)
                for step in steps:
                    assert isinstance(step, Run | Bypass | Without)
                    block = self.net.block(step.block)
                    if isinstance(step, Without):
                        x = block.dropped(x, step.roads)
                    else:
                        x = block(x) if isinstance(step, Run) else block.deleted(x)
            yield i, self.net.head(x)


class SharedPrefixes:
    """Each step of the tree of lesions is run once a batch, on compiled parts.

    Args:
        net: The decomposition; it is read, not changed.
        lesions: The lesions of the sweep.
        device: Where to run.
        dtype: The type of weights and activations.
    """

    def __init__(
        self,
        net: Decomposition,
        lesions: Sequence[Lesion],
        device: torch.device,
        dtype: torch.dtype,
    ) -> None:
        self.dtype = dtype
        bypasses = {block.index: compile_bypass(block) for block in net}
        befores = {b.index: compile_part(b.before) for b in net if b.before is not None}
        idle = frozenset(index for index, bypass in bypasses.items() if bypass is None)
        self.routes = plan_routes(
            [steps_of(lesion, len(net), frozenset(befores), idle) for lesion in lesions]
        )
        used = {step for route in self.routes for step in route.steps}
        make: dict[str, Callable[..., nn.Module | None]] = {
            "whole": lambda index: compile_block(net.block(index)),
            "bypass": bypasses.__getitem__,
            "drop": lambda index, roads: compile_dropped(net.block(index), roads),
            "before": befores.__getitem__,
        }
        self.parts: dict[Step, nn.Module] = {}
        for step in used:
            part = make[step[0]](*step[1:])
            assert part is not None
            self.parts[step] = _placed(part, device, dtype)
        self.stem = _placed(compile_part(net.stem), device, dtype)
        self.head = _placed(compile_part(net.head), device, dtype)
        self.evaluations = sum(len(route.steps) - route.shared for route in self.routes)

    def run(self, images: Tensor) -> Iterator[tuple[int, Tensor]]:
        """Yield the number of each lesion and its logits."""
        x = images.to(self.dtype)
        if x.ndim == 4:
            x = x.contiguous(memory_format=torch.channels_last)
        held = {0: self.stem(x)}
        del x
        last: tuple[tuple[Step, ...], Tensor] | None = None
        for route in self.routes:
            held = {depth: value for depth, value in held.items() if depth <= route.shared}
            if last is not None and last[0] == route.steps:
                yield route.lesion, last[1]
                continue
            last = None
            value = held[route.shared]
            if route.shared not in route.keep:
                del held[route.shared]
            for depth in range(route.shared, len(route.steps)):
                value = self.parts[route.steps[depth]](value)
                if depth + 1 in route.keep:
                    held[depth + 1] = value
            last = route.steps, self.head(value)
            yield route.lesion, last[1]


def _placed(part: nn.Module, device: torch.device, dtype: torch.dtype) -> nn.Module:
    part = part.to(device=device, dtype=dtype)
    for module in part.modules():
        if isinstance(module, nn.Conv2d):
            module.to(memory_format=torch.channels_last)
    return part
