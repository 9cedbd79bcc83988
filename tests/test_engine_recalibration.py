"""Recalibrated BatchNorm against a plain loop that trains BatchNorm alone."""

from __future__ import annotations

import copy

import pytest
import torch
from by_hand import loop_of
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from networks import TOKEN_KINDS, build, decomposable, images_for, random_networks
from torch import nn

from ensembles.decomposition import decompose
from ensembles.engine import Materials, evaluate, lesioned_module
from ensembles.errors import LesionError, OutOfMemoryError
from ensembles.lesions import (
    Delete,
    Duplicate,
    Intact,
    Lesion,
    Randomize,
    Reorder,
    Scale,
    Structure,
)

BATCHES, SIZE = 3, 6


def by_hand(model: nn.Module, lesion: Lesion, images: torch.Tensor, reference: torch.Tensor):
    """Logits of a deletion, a duplication or a reordering, after BatchNorm was trained anew."""
    model = copy.deepcopy(model).double()
    loop = loop_of(model)
    program = []
    for position in range(1, len(loop.units) + 1):
        unit = loop.units[position - 1]
        if isinstance(lesion, Delete) and position in lesion.blocks:
            program.append([unit._replace(branch=lambda x, u=unit: 0 * u.branch(x))])
        elif isinstance(lesion, Duplicate) and position in lesion.blocks:
            program.append([unit, unit])
        else:
            program.append([unit])
    if isinstance(lesion, Reorder):
        for a, b in lesion.swaps:
            program[a - 1], program[b - 1] = program[b - 1], program[a - 1]
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None
        norm.train()
    with torch.no_grad():
        for batch in reference.double().split(SIZE):
            loop.run(batch, program)
        for norm in norms:
            norm.eval()
        return loop.run(images.double(), program)


def spread_over(images: torch.Tensor, count: int) -> torch.Tensor:
    return images[torch.arange(count) * len(images) // count]


@settings(max_examples=12, deadline=None)
@given(random_networks(), st.integers(0, 1000))
def test_statistics_are_those_of_a_plain_loop(model: nn.Module, seed: int) -> None:
    assume({"residual", "dense"} & set(model.kinds))
    images, _ = images_for(model, 5, seed)
    reference, labels = images_for(model, 2 * BATCHES * SIZE + 1, seed + 1)
    net = decompose(model, images[:2]).double()
    structure = Structure.of(net)
    given = Materials(net, reference=[(reference, labels)])
    candidates = [Intact(), Delete((1,)), Delete((len(net),)), Duplicate((len(net),))]
    candidates += [Reorder((group[:2],)) for group in structure.stages]
    used = spread_over(reference, BATCHES * SIZE)
    for lesion in candidates:
        anew = lesion.recalibrated(BATCHES, SIZE)
        try:
            anew.require(structure)
        except LesionError:
            continue
        module = lesioned_module(net, anew, given)
        with torch.no_grad():
            found = module(images.double())
        expected = by_hand(model, lesion, images, used)
        torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-7, msg=str(lesion))


@pytest.mark.parametrize("engine", ["prefix", "level", "direct"])
def test_what_is_evaluated_is_the_recalibrated_network(engine: str) -> None:
    model = decomposable()
    images, labels = images_for(model, 17)
    reference = images_for(model, 40, 3)
    net = decompose(model, images)
    given = Materials(net, reference=[reference])
    inner: list[Lesion] = [Intact(), Delete((2,)), Randomize((1,), seed=2), Scale((3,), 0.5)]
    sweep = [*inner, *(one.recalibrated(BATCHES, SIZE) for one in inner), Delete((4,))]
    for size in (1, 5, 17):
        outcomes = evaluate(
            net, [(images, labels)], sweep, batch_size=size, engine=engine, device="cpu",
            materials=given, metrics=("top1", "loss", "kl"),
        )  # fmt: skip
        for outcome in outcomes[4:8]:
            module = lesioned_module(net, outcome.lesion, given)
            with torch.no_grad():
                loss = nn.functional.cross_entropy(module(images), labels, reduction="sum")
            assert outcome.loss_sum == pytest.approx(float(loss), rel=1e-4)
        plain = evaluate(net, [(images, labels)], [*inner, Delete((4,))], batch_size=size,
                         engine=engine, device="cpu")  # fmt: skip
        unaffected = [*outcomes[:4], outcomes[8]]
        rounding = 1e-6 if engine == "level" else 0.0  # in fp32 its batches hold other lesions too
        expected = pytest.approx([one.loss_sum for one in plain], rel=rounding, abs=0.0)
        assert [one.loss_sum for one in unaffected] == expected
        assert outcomes[4].loss_sum != pytest.approx(outcomes[0].loss_sum, rel=1e-3)
        assert outcomes[0].row()["kl"] == 0.0 < outcomes[4].row()["kl"]


@pytest.mark.parametrize("kinds", [TOKEN_KINDS, ("convnext", "convnext")])
def test_without_batchnorm_nothing_changes_to_the_last_bit(kinds: tuple[str, ...]) -> None:
    model = build([(kind, 0, 1) for kind in kinds], seed=2)
    for name, module in list(model.named_modules()):
        if isinstance(module, nn.BatchNorm2d):
            parent, _, last = name.rpartition(".")
            setattr(model.get_submodule(parent), last, nn.Identity())
    images, labels = images_for(model, 9)
    net = decompose(model, images)
    assert net.batch_norms == 0
    inner: list[Lesion] = [Intact(), Delete((1,)), Randomize((2,), seed=1, how="permute")]
    sweep = [*inner, *(one.recalibrated(2, 4) for one in inner)]
    for engine in ("prefix", "level", "direct"):
        found = evaluate(net, [(images, labels)], sweep, engine=engine, batch_size=4, device="cpu",
                         metrics=("top1", "loss", "kl"))  # fmt: skip
        for plain, anew in zip(found[:3], found[3:], strict=True):
            assert plain.states.keys() == anew.states.keys()
            assert all((plain.states[name] == anew.states[name]).all() for name in plain.states)
    state = lesioned_module(net, sweep[4]).state_dict()
    expected = lesioned_module(net, sweep[1]).state_dict()
    assert all(torch.equal(state[name], expected[name]) for name in expected)


def test_the_network_keeps_its_statistics() -> None:
    model = decomposable()
    images, labels = images_for(model, 8)
    net = decompose(model, images)
    before = copy.deepcopy((model.state_dict(), net.state_dict()))
    given = Materials(net, reference=[(images, labels)])
    sweep = [Delete((1,)).recalibrated(2, 4)]
    for engine in ("prefix", "level", "direct"):
        evaluate(net, [(images, labels)], sweep, engine=engine, device="cpu", materials=given)
    lesioned_module(net, sweep[0], given)
    for now, then in zip((model.state_dict(), net.state_dict()), before, strict=True):
        assert all(torch.equal(now[name], value) for name, value in then.items())
    assert all(
        not module.training and module.momentum == 0.1
        for module in net.modules()
        if isinstance(module, nn.BatchNorm2d)
    )


def test_a_batch_of_one_value_a_channel_is_refused() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(4, 4), Residual(4), nn.Linear(4, 3)).eval()
    images, labels = torch.rand(6, 1, 2, 2), torch.arange(6) % 3
    net = decompose(model, images)
    given = Materials(net, reference=[(images, labels)])
    with pytest.raises(LesionError, match=r"recalibrated none \| 2x1: BatchNorm finds a single v"):
        evaluate(net, [(images, labels)], [Intact().recalibrated(2, 1)], device="cpu",
                 materials=given)  # fmt: skip


class Residual(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.linear, self.norm = nn.Linear(width, width), nn.BatchNorm1d(width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.norm(self.linear(x))


def test_memory_that_runs_out_while_statistics_are_measured(monkeypatch) -> None:
    """Once it is tried again; twice and the lesion fails, with a line that says of what."""
    model = decomposable()
    images, labels = images_for(model, 8)
    net = decompose(model, images)
    given = Materials(net, reference=[(images, labels)])
    sweep = [Intact(), Delete((1,)).recalibrated(2, 4)]
    options = {"device": "cpu", "materials": given}
    expected = [one.loss_sum for one in evaluate(net, [(images, labels)], sweep, **options)]
    plain, left = Materials.batches, [1]

    def batches(self, need, size):
        for batch in plain(self, need, size):
            yield batch
            if left[0]:
                left[0] -= 1
                raise torch.OutOfMemoryError("CUDA out of memory (injected)")

    monkeypatch.setattr(Materials, "batches", batches)
    found = evaluate(net, [(images, labels)], sweep, **options)
    assert [one.loss_sum for one in found] == expected
    left[0] = 99
    with pytest.raises(
        OutOfMemoryError, match=r"the reference batches of recalibrated delete 1 \| 2x4"
    ):
        evaluate(net, [(images, labels)], sweep, **options)
