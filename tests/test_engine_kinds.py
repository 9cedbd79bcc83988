"""Every kind of lesion against networks edited by hand, and the engines against each other."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from by_hand import Loop, Unit, loop_of
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from networks import PreActivation, build, decomposable, images_for, random_networks
from sweeps import REFERENCE, chains, every_kind, fits
from torch import Tensor, nn

from ensembles.decomposition import Decomposition, decompose
from ensembles.engine import Materials, evaluate, lesioned_module
from ensembles.engine.direct import Direct
from ensembles.engine.shared import SharedPrefixes
from ensembles.lesions import (
    Delete,
    Duplicate,
    Intact,
    Lesion,
    MeanBranch,
    Noise,
    Parallel,
    Randomize,
    Recalibrated,
    Reorder,
    Repeat,
    Replace,
    Reset,
    Reverse,
    Scale,
    Shuffle,
    Structure,
    Then,
    Transplant,
)
from ensembles.lesions.branches import normal_noise

METRICS = ("top1", "loss", "kl", "agreement")
CPU = torch.device("cpu")


def rewoven(model: nn.Module, seed: int) -> nn.Module:
    """A copy with other weights and statistics."""
    model, generator = copy.deepcopy(model), torch.Generator().manual_seed(seed)
    for name, value in (*model.named_parameters(), *model.named_buffers()):
        if not value.is_floating_point():
            continue
        noise = torch.randn(value.shape, generator=generator)
        positive = "running_var" in name
        value.data.copy_(noise.abs() + 0.5 if positive else value + 0.3 * noise)
    return model


def materials_for(net: Decomposition, model: nn.Module) -> tuple[Materials, nn.Module, Tensor]:
    """Materials, the other network in them, and the reference images."""
    reference = images_for(model, 3 * REFERENCE, seed=9)
    other = rewoven(model, 4)
    given = Materials(net, reference=[reference], initial=other, sources={"other": other})
    return given, other, reference[0]


def losses(outcomes: list[Any]) -> list[float]:
    return [outcome.loss_sum for outcome in outcomes]


# Against networks edited by hand


class ByHand:
    """Runs lesions on the plain loop of a network, in double precision."""

    def __init__(self, model: nn.Module, other: nn.Module, reference: Tensor) -> None:
        self.model = copy.deepcopy(model).double()
        self.other = copy.deepcopy(other).double()
        self.reference = reference.double()
        self.loop, self.foreign = loop_of(self.model), loop_of(self.other)

    def logits(self, lesion: Lesion, images: Tensor) -> Tensor:
        return self.loop.run(images.double(), self.edited(lesion, self.loop.intact()))

    def edited(self, lesion: Lesion, program: list[Any]) -> list[Any]:
        """What runs at each position; only kinds that are easy to write by hand."""
        if isinstance(lesion, Then):
            for part in lesion.parts:
                program = self.edited(part, program)
            return program
        return getattr(self, lesion.kind)(lesion, program)

    def none(self, lesion: Intact, program: list[Any]) -> list[Any]:
        return program

    def delete(self, lesion: Delete, program: list[Any]) -> list[Any]:
        return self.changed(lesion, program, lambda unit, _: [with_value(unit, lambda x: torch.zeros_like(unit.branch(x)))])

    def duplicate(self, lesion: Duplicate, program: list[Any]) -> list[Any]:
        return self.changed(lesion, program, lambda unit, _: [unit, unit])

    def reorder(self, lesion: Reorder, program: list[Any]) -> list[Any]:
        program = list(program)
        for a, b in lesion.swaps:
            program[a - 1], program[b - 1] = program[b - 1], program[a - 1]
        return program

    def scale(self, lesion: Scale, program: list[Any]) -> list[Any]:
        return self.changed(
            lesion, program, lambda u, _: [with_value(u, lambda x: lesion.factor * u.branch(x))]
        )

    def noise(self, lesion: Noise, program: list[Any]) -> list[Any]:
        def noisy(unit: Unit, block: int) -> list[Unit]:
            def branch(x: Tensor) -> Tensor:
                value = unit.branch(x)
                rows = []
                for row, one in enumerate(value):
                    rms = one.square().mean().sqrt()
                    drawn = normal_noise(lesion.seed, block, row, one.numel()).reshape(one.shape)
                    rows.append(one + lesion.strength * rms * torch.from_numpy(drawn))
                return torch.stack(rows)

            return [with_value(unit, branch)]

        return self.changed(lesion, program, noisy)

    def mean(self, lesion: MeanBranch, program: list[Any]) -> list[Any]:
        seen: dict[int, Tensor] = {}

        def watched(unit: Unit, block: int) -> Unit:
            def branch(x: Tensor) -> Tensor:
                seen[block] = unit.branch(x)
                return seen[block]

            return with_value(unit, branch)

        units = [[watched(unit, block)] for block, unit in enumerate(self.loop.units, 1)]
        spread = torch.arange(REFERENCE) * len(self.reference) // REFERENCE
        self.loop.run(self.reference[spread], units)
        means = {block: value.mean(0, keepdim=True) for block, value in seen.items()}

        def constant(unit: Unit, block: int) -> list[Unit]:
            mean = means[block]
            return [with_value(unit, lambda x: mean.expand(len(x), *mean.shape[1:]))]

        return self.changed(lesion, program, constant)

    def reset(self, lesion: Reset, program: list[Any]) -> list[Any]:
        """The branch with the other network's weights, and with its own statistics.

        What a pre-activation transition does before its branch is no part of it.
        """
        before = copy.deepcopy(self.model)
        before.load_state_dict(
            {**self.model.state_dict(), **dict(self.other.named_parameters())}
        )
        for ours, theirs in zip(self.model.blocks, before.blocks, strict=True):
            if getattr(ours, "project", None) is not None and isinstance(ours, PreActivation):
                theirs.bn1 = ours.bn1
        units = loop_of(before).units
        return self.changed(
            lesion, program, lambda unit, block: [with_value(unit, units[block - 1].branch)]
        )

    def transplant(self, lesion: Transplant, program: list[Any]) -> list[Any]:
        return self.changed(lesion, program, lambda _, block: [self.foreign.units[block - 1]])

    def replace(self, lesion: Replace, program: list[Any]) -> list[Any]:
        return self.changed(
            lesion,
            program,
            lambda u, b: [with_value(u, self.loop.units[lesion.pairs[b] - 1].branch)],
        )

    def repeat(self, lesion: Repeat, program: list[Any]) -> list[Any]:
        first, last = lesion.span[0], lesion.span[-1]
        inside = [unit for units in program[first - 1 : last] for unit in units]
        again = [*program[last - 1], *inside * (lesion.times - 1)]
        return [*program[: last - 1], again, *program[last:]]

    def reverse(self, lesion: Reverse, program: list[Any]) -> list[Any]:
        first, last = lesion.span
        return [*program[: first - 1], *program[first - 1 : last][::-1], *program[last:]]

    def shuffle(self, lesion: Shuffle, program: list[Any]) -> list[Any]:
        n = len(program)
        order = lesion.order(n)
        assert order is not None and order != tuple(range(1, n + 1))
        assert sorted(order) == list(range(1, n + 1))
        assert {i for i, b in enumerate(order, 1) if i != b} <= set(lesion.blocks)
        return [[self.loop.units[block - 1]] for block in order]

    def parallel(self, lesion: Parallel, program: list[Any]) -> list[Any]:
        first, last = lesion.blocks[0], lesion.blocks[-1]
        units = [unit for units in program[first - 1 : last] for unit in units]

        def together(x: Tensor) -> Tensor:
            total = torch.stack([unit.branch(x) for unit in units]).sum(0)
            return total / len(units) if lesion.mean else total

        side = with_value(units[0], together)
        empty: list[Any] = [[] for _ in range(last - first)]
        return [*program[: first - 1], [side] * lesion.loops, *empty, *program[last:]]

    def changed(
        self, lesion: Lesion, program: list[Any], change: Callable[[Unit, int], list[Unit]]
    ) -> list[Any]:
        numbers = {id(unit): block for block, unit in enumerate(self.loop.units, 1)}
        assert all(id(unit) in numbers for units in program for unit in units)
        return [
            [
                made
                for unit in units
                for made in (
                    change(unit, numbers[id(unit)])
                    if numbers[id(unit)] in lesion.blocks
                    else [unit]
                )
            ]
            for units in program
        ]


def with_value(unit: Unit, branch: Callable[[Tensor], Tensor]) -> Unit:
    return unit._replace(branch=branch)


BY_HAND = tuple(name for name in vars(ByHand) if name not in ("logits", "edited", "changed"))


def logits(net: Decomposition, lesions: list[Lesion], images: Tensor, given: Materials) -> Any:
    """The logits of each lesion in double precision, by the shared engine and by the direct one."""
    programs = [lesion.program(len(net)) for lesion in lesions]
    found = []
    for engine in (SharedPrefixes, Direct):
        twin = copy.deepcopy(net)
        runner = engine(twin, programs, given.around(twin), CPU, torch.float64)
        with torch.no_grad():
            found.append(dict(runner.run(images.double())))
    return found


@settings(max_examples=30, deadline=None)
@given(random_networks(), st.integers(0, 1000))
def test_each_kind_computes_what_an_edit_by_hand_does(model: nn.Module, seed: int) -> None:
    assume({"residual", "dense"} & set(model.kinds))
    images, _ = images_for(model, 5, seed)
    net = decompose(model, images[:2]).double()
    given, other, reference = materials_for(net, model)
    hand, structure = ByHand(model, other, reference), Structure.of(net)
    sweep = [one for one in every_kind(net, seed) if one.kind in BY_HAND]
    moves = [one for one in sweep if isinstance(one, Reorder | Reverse | Shuffle)]
    changes = [one for one in sweep if isinstance(one, Delete | Scale | Replace | Reset | Noise)]
    pairs = [one.then(other) for one in moves[:3] for other in changes[:6]]
    sweep += [pair for pair in pairs if fits(pair, structure)]
    fast, slow = logits(net, sweep, images, given)
    for number, lesion in enumerate(sweep):
        with torch.no_grad():
            expected = hand.logits(lesion, images)
        for found in (fast, slow):
            torch.testing.assert_close(
                found[number], expected, rtol=1e-5, atol=1e-6, msg=lambda m, o=lesion: f"{o}: {m}"
            )


def test_randomized_weights_are_those_of_the_modules_own_initialisation() -> None:
    model = decomposable()
    images, _ = images_for(model, 4)
    net = decompose(model, images)
    before = copy.deepcopy(net.state_dict())
    made = [lesioned_module(net, Randomize((2,), seed=seed)) for seed in (1, 1, 2)]
    states = [module.state_dict() for module in made]
    assert all(torch.equal(a, b) for a, b in zip(states[0].values(), states[1].values()))
    assert any(not torch.equal(a, b) for a, b in zip(states[0].values(), states[2].values()))
    permuted = lesioned_module(net, Randomize((2,), seed=1, how="permute")).state_dict()
    for name, value in permuted.items():
        ours = next(v for n, v in before.items() if n.endswith(tail(name)) and v.shape == value.shape)
        assert ours.shape == value.shape
    assert all(torch.equal(net.state_dict()[name], value) for name, value in before.items())


def tail(name: str) -> str:
    return name.rsplit(".", 2)[-1]
