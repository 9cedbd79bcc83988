"""Every kind of lesion against networks edited by hand, and the engines against each other."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from by_hand import Unit, after_both, before_both, loop_of, modules_of
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
    Reorder,
    Repeat,
    Replace,
    Reset,
    Reverse,
    Scale,
    Shuffle,
    Then,
    Transplant,
)
from ensembles.lesions.branches import normal_noise
from ensembles.metrics import Outcome
from ensembles.models.ensemble import Average
from ensembles.models.fractal import CifarFractalNet
from ensembles.models.highway import HighwayNetwork
from ensembles.models.rir import CifarRiR
from ensembles.models.shared import CifarSharedResNet

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
        return self.changed(
            lesion,
            program,
            lambda unit, _: [with_value(unit, lambda x: torch.zeros_like(unit.branch(x)))],
        )

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
        before.load_state_dict({**self.model.state_dict(), **dict(self.other.named_parameters())})
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
        """What a pre-activation transition does before its branch stays that of the place."""
        modules = modules_of(self.model)

        def replaced(unit: Unit, block: int) -> list[Unit]:
            source = lesion.pairs[block] - 1
            before = before_both(modules[block - 1])
            branch = after_both(modules[source], self.loop.units[source])
            return [with_value(unit, lambda x: branch(before(x)))]

        return self.changed(lesion, program, replaced)

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


@settings(max_examples=12, deadline=None)
@given(random_networks(max_blocks=4), st.integers(0, 1000))
def test_each_kind_computes_what_an_edit_by_hand_does(model: nn.Module, seed: int) -> None:
    assume({"residual", "dense"} & set(model.kinds))
    images, _ = images_for(model, 5, seed)
    net = decompose(model, images[:2]).double()
    given, other, reference = materials_for(net, model)
    hand = ByHand(model, other, reference)
    sweep = [one for one in every_kind(net, seed) if one.kind in BY_HAND]
    moves = [one for one in sweep if isinstance(one, Reorder | Reverse | Shuffle)]
    changes = [one for one in sweep if isinstance(one, Delete | Scale | Replace | Reset | Noise)]
    pairs = [one.then(other) for one in moves[:3] for other in changes[:6]]
    sweep += [pair for pair in pairs if fits(pair, net)]
    fast, slow = logits(net, sweep, images, given)
    for number, lesion in enumerate(sweep):
        with torch.no_grad():
            expected = hand.logits(lesion, images)
        for found in (fast, slow):
            torch.testing.assert_close(
                found[number], expected, rtol=1e-5, atol=1e-6, msg=lambda m, o=lesion: f"{o}: {m}"
            )


def test_a_replaced_branch_leaves_what_comes_before_it_and_the_shortcut() -> None:
    for first, last in (("pre", "pre"), ("post", "pre"), ("pre", "post")):
        model = build([(first, 8, 1), ("post", 6, 1), (last, 8, 1)])
        images, _ = images_for(model, 5)
        net = decompose(model, images[:2]).double()
        given, other, reference = materials_for(net, model)
        hand, sweep = ByHand(model, other, reference), [Replace(3, by=1), Replace(1, by=3)]
        for found in logits(net, sweep, images, given):
            for number, lesion in enumerate(sweep):
                torch.testing.assert_close(found[number], hand.logits(lesion, images))


def test_randomized_weights_are_drawn_from_the_seed_alone() -> None:
    model = decomposable()
    images, _ = images_for(model, 4)
    net = decompose(model, images)
    kept = copy.deepcopy(net.state_dict())
    one, again, another, permuted = (
        dict(lesioned_module(net, lesion).named_parameters())
        for lesion in (
            Randomize((2,), seed=1),
            Randomize((2,), seed=1),
            Randomize((2,), seed=2),
            Randomize((2,), seed=1, how="permute"),
        )
    )
    intact = dict(lesioned_module(net, Intact()).named_parameters())
    changed = [name for name, value in one.items() if not torch.equal(value, intact[name])]
    assert changed and all("branch" in name for name in changed)
    assert all(torch.equal(one[name], again[name]) for name in one)
    assert any(not torch.equal(one[name], another[name]) for name in changed)
    for name, value in permuted.items():
        assert torch.equal(value.flatten().sort().values, intact[name].flatten().sort().values)
    assert any(not torch.equal(permuted[name], intact[name]) for name in changed)
    assert all(torch.equal(value, kept[name]) for name, value in net.state_dict().items())


# The engines against each other


@settings(max_examples=10, deadline=None)
@given(random_networks(max_blocks=4), st.integers(1, 12), st.integers(0, 1000))
def test_both_engines_measure_the_same(model: nn.Module, batch_size: int, seed: int) -> None:
    images, labels = images_for(model, 11, seed)
    net = decompose(model, images[:2])
    given, _, _ = materials_for(net, model)
    sweep = every_kind(net, seed)
    sweep += chains(sweep, net, seed)
    options: dict[str, Any] = {"device": "cpu", "metrics": METRICS, "materials": given}
    data = [(images, labels)]
    slow = evaluate(net, data, sweep, engine="direct", **options)
    for engine in ("prefix", "level"):
        fast = evaluate(net, data, sweep, batch_size=batch_size, engine=engine, **options)
        assert agreeing(fast, slow)


RARE = {
    "gated": lambda: HighwayNetwork((4, 6), (3, 2), hidden=4, gate_bias=0.0),
    "two streams": lambda: CifarRiR((4, 6), (2, 2)),
    "fractal": lambda: CifarFractalNet((4, 6), 2),
    "shared weights": lambda: CifarSharedResNet(26, width=4),
    "members": lambda: Average([build([("post", 6, 1)], seed=seed) for seed in range(3)]),
    "plain": lambda: build([("plain", 6, 1), ("plain", 6, 1), ("excite", 8, 2)]),
    "parallel": lambda: build([("inception", 6, 1), ("shuffle", 6, 1), ("inception", 6, 1)]),
}


@pytest.mark.parametrize("name", RARE)
def test_both_engines_measure_the_same_on_rare_kinds_of_block(name: str) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        model = RARE[name]().eval()
    model.input_shape = (3, 8, 8)
    images, labels = images_for(model, 7)
    net = decompose(model, images[:2])
    given, _, _ = materials_for(net, model)
    sweep = every_kind(net, each=4)
    sweep += chains(sweep, net, count=8)
    assert len({lesion.kind for lesion in sweep}) > 5
    options: dict[str, Any] = {"device": "cpu", "metrics": METRICS, "materials": given}
    data = [(images, labels)]
    slow = evaluate(net, data, sweep, engine="direct", **options)
    for engine in ("prefix", "level"):
        fast = evaluate(net, data, sweep, batch_size=3, engine=engine, **options)
        assert agreeing(fast, slow)


def agreeing(fast: list[Outcome], slow: list[Outcome]) -> bool:
    """Equal counts, and equal sums but for rounding."""
    for ours, oracle in zip(fast, slow, strict=True):
        assert ours.lesion == oracle.lesion
        assert (ours.correct, ours.total) == (oracle.correct, oracle.total), ours.lesion
        for name in ("loss", "kl"):
            expected = pytest.approx(oracle.states[name], rel=1e-3, abs=1e-3)
            assert ours.states[name] == expected, (ours.lesion, name)
    return True


# What must come out the same


@settings(max_examples=10, deadline=None)
@given(random_networks(), st.integers(0, 1000))
def test_lesions_that_are_another_one_by_other_words(model: nn.Module, seed: int) -> None:
    images, _ = images_for(model, 4, seed)
    net = decompose(model, images[:2]).double()
    intact = Intact()
    given = Materials(net, initial=net, sources={"itself": net})
    pairs: list[tuple[Lesion, Lesion]] = []
    for block in range(1, len(net) + 1):
        pairs += [
            (Scale((block,), 0.0), Delete((block,))),
            (Scale((block,), 1.0), intact),
            (Reset((block,)), intact),
            (Transplant((block,), "itself"), intact),
            (Parallel((block,)), intact),
            (Parallel((block,), mean=True, loops=2), Duplicate((block,))),
            (Repeat((block,), 2), Duplicate((block,))),
        ]
    pairs = [pair for pair in pairs if all(fits(one, net) for one in pair)]
    for found in logits(net, [one for pair in pairs for one in pair], images, given):
        for place, (one, other) in enumerate(pairs):
            torch.testing.assert_close(
                found[2 * place], found[2 * place + 1], rtol=1e-9, atol=1e-9, msg=f"{one}, {other}"
            )


@pytest.mark.parametrize("engine", ["prefix", "level", "direct"])
def test_the_intact_network_diverges_from_itself_by_nothing_at_all(engine: str) -> None:
    model = decomposable()
    images, labels = images_for(model, 23)
    net = decompose(model, images)
    sweep = [*every_kind(net, each=1)[:4], Reorder(((1, 2), (1, 2)))]
    outcomes = evaluate(
        net, [(images, labels)], sweep, metrics=METRICS, batch_size=7, device="cpu", engine=engine
    )
    for outcome in (outcomes[0], outcomes[-1]):
        assert outcome.row()["kl"] == 0.0
        assert outcome.row()["agreement"] == 1.0
    assert outcomes[1].row()["kl"] > 0.0


# Noise


def test_noise_depends_neither_on_the_batches_nor_on_the_other_lesions() -> None:
    model = decomposable()
    images, labels = images_for(model, 13)
    net = decompose(model, images)
    noisy = [Noise((2,), 0.5, seed=3), Noise((2,), 0.5, seed=4)]
    data = [(images, labels)]
    alone = losses(evaluate(net, data, noisy[:1], device="cpu"))
    for size in (1, 4, 13):
        for engine in ("prefix", "level", "direct"):
            sweep = [Delete((1,)), *noisy, Delete((2,))]
            some = evaluate(net, data, sweep, batch_size=size, engine=engine, device="cpu")
            assert losses(some)[1] == pytest.approx(alone[0], rel=1e-5)
    both = losses(evaluate(net, data, noisy, device="cpu"))
    assert both[0] == alone[0]
    assert both[1] != pytest.approx(both[0], rel=1e-6)


def test_rows_keep_their_numbers_when_a_batch_is_halved() -> None:
    model = decomposable()
    images, labels = images_for(model, 13)
    net = decompose(model, images)
    whole = losses(evaluate(net, [(images, labels)], [Noise((2,), 0.5, seed=3)], device="cpu"))
    parts = [(images[:5], labels[:5]), (images[5:6], labels[5:6]), (images[6:], labels[6:])]
    again = losses(evaluate(net, parts, [Noise((2,), 0.5, seed=3)], batch_size=3, device="cpu"))
    assert again == pytest.approx(whole, rel=1e-5)
