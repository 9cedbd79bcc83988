"""How the variants of blocks are made, against formulas and against models edited by hand."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from networks import build, conv, images_for, norm, random_networks
from torch import Tensor, nn

import ensembles
from ensembles.decomposition import Block, Decomposition
from ensembles.engine.graphs import block_graph
from ensembles.errors import LesionError
from ensembles.lesions import (
    Beside,
    Bypass,
    Choice,
    Initial,
    Lesion,
    MeanBranch,
    Noise,
    Parallel,
    Randomize,
    Reference,
    Replace,
    Reset,
    Run,
    Scale,
    Source,
    Step,
    Structure,
    Transplant,
    Variant,
)
from ensembles.lesions.branches import normal_noise

PLAN = [("post", 6, 1), ("bottleneck", 6, 1), ("pre", 6, 1), ("post", 8, 2), ("post", 8, 1)]


@dataclass
class Stand:
    """Stands in for the materials of the engine: everything is given."""

    net: Decomposition
    initial: Decomposition | None = None
    sources: Mapping[str, Decomposition] = field(default_factory=dict)
    values: Mapping[int, Tensor] = field(default_factory=dict)

    def other(self, need: Initial | Source) -> Decomposition:
        found = self.initial if isinstance(need, Initial) else self.sources[need.name]
        assert found is not None
        return found

    def means(self, need: Reference) -> list[Tensor | None]:
        return [self.values.get(block.index) for block in self.net]


def block_of(step: Step, materials: Stand) -> Block:
    if isinstance(step, Beside):
        first, *others = [block_of(part, materials) for part in step.parts]
        return first.beside(others, step.mean)
    assert isinstance(step, Run | Variant)
    block = materials.net.block(step.block)
    for recipe in step.recipes if isinstance(step, Variant) else ():
        block = recipe.variant(block, materials)  # type: ignore[arg-type]
    return block


def lesioned(
    lesion: Lesion, materials: Stand, x: Tensor, rows: Tensor | None = None, *, fast: bool = False
) -> Tensor:
    """The output of a lesioned network, block by block."""
    net = materials.net
    lesion.require(Structure.of(net))
    with torch.no_grad():
        x = net.stem(x)
        for position, steps in enumerate(lesion.program(len(net)), 1):
            before = net.block(position).before
            x = x if before is None else before(x)
            for step in steps:
                if isinstance(step, Bypass):
                    x = net.block(step.block).deleted(x)
                    continue
                block = block_of(step, materials)
                runner = block_graph(block) if fast else block
                for module in runner.modules():
                    if hasattr(module, "rows"):
                        module.rows = rows
                x = runner(x)
        out: Tensor = net.head(x)
        return out


def taken_apart(model: nn.Module, images: Tensor) -> Decomposition:
    return ensembles.decompose(model, images)


def residual(seed: int = 0) -> tuple[nn.Module, Decomposition, Tensor]:
    """A network whose every module in `blocks` is one block."""
    model = build(PLAN, seed)
    images, _ = images_for(model, 6)
    return model, taken_apart(model, images), images


def output(model: nn.Module, images: Tensor) -> Tensor:
    with torch.no_grad():
        out: Tensor = model(images)
        return out


@torch.no_grad()
def walked(
    net: Decomposition, images: Tensor, chosen: int, run: Callable[[Block, Tensor], Tensor]
) -> Tensor:
    """The logits where one block is run in another way."""
    x = net.stem(images)
    for block in net:
        x = x if block.before is None else block.before(x)
        x = run(block, x) if block.index == chosen else block(x)
    out: Tensor = net.head(x)
    return out


def same(one: Tensor, other: Tensor) -> bool:
    return bool(torch.allclose(one, other, rtol=1e-4, atol=1e-5))


class Highway(nn.Module):
    """Two gated blocks: one whose gate is on both roads, one whose gate is on the shortcut."""

    def __init__(self) -> None:
        super().__init__()
        self.input_shape = (3, 8, 8)
        self.stem = conv(3, 6)
        self.made = nn.ModuleList([nn.Sequential(conv(6, 6), norm(6), nn.ReLU()) for _ in range(2)])
        self.gates = nn.ModuleList([nn.Conv2d(6, 6, 1) for _ in range(2)])
        self.classifier = nn.Linear(6, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        gate = torch.sigmoid(self.gates[0](x))
        x = gate * self.made[0](x) + (1 - gate) * x
        gate = torch.sigmoid(self.gates[1](x))
        x = self.made[1](x) + (1 - gate) * x
        return self.classifier(x.mean((2, 3)))


def highway() -> tuple[nn.Module, Decomposition, Tensor]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = Highway().eval()
    images, _ = images_for(model, 6)
    return model, taken_apart(model, images), images


# The value of the branch


@settings(max_examples=12, deadline=None)
@given(random_networks(), st.sampled_from([-1.0, 0.25, 0.5, 2.0]), st.data())
def test_a_scaled_branch_by_its_formula(
    model: nn.Module, factor: float, data: st.DataObject
) -> None:
    images, _ = images_for(model, 3)
    net = taken_apart(model, images)
    blocks = [block.index for block in net if block.has_shortcut]
    if not blocks:
        return
    chosen = data.draw(st.sampled_from(blocks))
    found = lesioned(Scale((chosen,), factor), Stand(net), images)

    def scaled(block: Block, x: Tensor) -> Tensor:
        middle = x if block.pre is None else block.pre(x)
        x = factor * block.on_branch(middle) + block.on_shortcut(middle)
        return x if block.post is None else block.post(x)

    assert same(found, walked(net, images, chosen, scaled))


def test_a_scaled_gate() -> None:
    model, net, images = highway()
    for block in (1, 2):
        edited = copy.deepcopy(model)
        nn.init.zeros_(edited.made[block - 1][1].weight)
        nn.init.zeros_(edited.made[block - 1][1].bias)
        nn.init.constant_(edited.gates[block - 1].bias, -1e9)
        deleted = output(edited, images)
        assert same(lesioned(Scale((block,), 0), Stand(net), images), deleted)
        nearly = lesioned(Scale((block,), 1e-6), Stand(net), images)
        assert torch.allclose(nearly, deleted, atol=1e-4)
        whole = lesioned(Scale((block,), 1), Stand(net), images)
        assert torch.equal(whole, output(net, images))


@settings(max_examples=12, deadline=None)
@given(random_networks(), st.integers(0, 99), st.data())
def test_noise_by_its_formula(model: nn.Module, seed: int, data: st.DataObject) -> None:
    images, _ = images_for(model, 3)
    net = taken_apart(model, images)
    blocks = [block.index for block in net if block.has_shortcut]
    if not blocks:
        return
    chosen, rows = data.draw(st.sampled_from(blocks)), torch.tensor([7, 0, 4])
    found = lesioned(Noise((chosen,), 0.3, seed), Stand(net), images, rows)

    def noisy(block: Block, x: Tensor) -> Tensor:
        value = block.branch(x if block.pre is None else block.pre(x))
        for i, row in enumerate(rows.tolist()):
            rms = value[i].double().pow(2).mean().sqrt().float()
            drawn = normal_noise(seed, chosen, row, value[i].numel())
            value[i] += 0.3 * rms * torch.from_numpy(drawn).view(value[i].shape)
        return block.with_branch(_Given(value))(x)

    assert same(found, walked(net, images, chosen, noisy))


class _Given(nn.Module):
    def __init__(self, value: Tensor) -> None:
        super().__init__()
        self.value = value

    def forward(self, x: Tensor) -> Tensor:
        return self.value


def test_noise_behind_the_gate() -> None:
    _, net, images = highway()
    rows, x = torch.arange(6), net.stem(images)
    block = net.block(1)
    found = block_of(Noise((1,), 0.3, 5).program(2)[0][0], Stand(net))
    with torch.no_grad():
        gate = block.gate(x)
        added = gate * block.branch(x)
        noise = np.stack([normal_noise(5, 1, row, added[0].numel()) for row in rows.tolist()])
        rms = added.flatten(1).pow(2).mean(1).sqrt().view(-1, 1, 1, 1)
        expected = added + 0.3 * rms * torch.from_numpy(noise).view(x.shape) + (1 - gate) * x
        assert same(found(x), expected)
        assert same(block_graph(found)(x), expected)


def test_noise_does_not_depend_on_the_batch() -> None:
    _, net, images = residual()
    lesion, stand = Noise((2, 5), 0.5, 3), Stand(net)
    whole = lesioned(lesion, stand, images, torch.arange(6))
    for size in (1, 2, 4):
        parts = [
            lesioned(lesion, stand, images[i : i + size], torch.arange(i, min(i + size, 6)))
            for i in range(0, 6, size)
        ]
        torch.testing.assert_close(torch.cat(parts), whole)
    assert torch.equal(whole, lesioned(lesion, stand, images, torch.arange(6)))
    assert same(lesioned(lesion, stand, images, torch.arange(6), fast=True), whole)
    assert torch.equal(whole, lesioned(lesion, stand, images))  # without numbers: from 0 on
    for other in (Noise((2, 5), 0.5, 4), Noise((2,), 0.5, 3), Noise((2, 5), 0.4, 3)):
        assert not same(lesioned(other, stand, images), whole)
    with pytest.raises(LesionError, match="noise in block 2: 6 rows came where 5 were numbered"):
        lesioned(lesion, stand, images, torch.arange(5))


def test_noise_is_standard_normal_and_its_own_for_each_block_row_and_seed() -> None:
    first = normal_noise(3, 4, 5, 100_000)
    assert first.dtype == np.float32
    assert abs(first.mean()) < 0.02
    assert abs(first.std() - 1) < 0.02
    assert np.array_equal(first[:1000], normal_noise(3, 4, 5, 1000))
    for other in ((4, 4, 5), (3, 5, 5), (3, 4, 6), (2**63 - 1, 4, 5)):
        assert abs(np.corrcoef(first, normal_noise(*other, 100_000))[0, 1]) < 0.02
    assert normal_noise(3, 4, 5, 3).tolist() == pytest.approx(
        normal_noise(3, 4, 5, 100)[:3].tolist()
    )


def test_noise_keeps_the_type() -> None:
    _, net, images = residual()
    net = net.to(torch.bfloat16)
    assert lesioned(Noise((2,), 0.1), Stand(net), images.bfloat16()).dtype == torch.bfloat16


def test_the_mean_in_place_of_the_branch() -> None:
    for _, net, images in (residual(), highway()):
        with torch.no_grad():
            for block in net:
                x = images
                x = net.stem(x)
                for earlier in net:
                    if earlier is block:
                        break
                    x = earlier(x)
                value = block.branch(x if block.pre is None else block.pre(x))
                mean = value.mean(0)
                stand = Stand(net, values={block.index: mean})
                (step,) = MeanBranch((block.index,)).program(len(net))[block.index - 1]
                found = block_of(step, stand)
                expected = block.with_branch(_Given(mean.expand_as(value)))(x)
                torch.testing.assert_close(found(x), expected)
                assert same(block_graph(found)(x), expected)
                assert torch.allclose(found.branch(x)[0], mean)


# The weights of the branch


def edited(model: nn.Module, other: nn.Module, block: int) -> nn.Module:
    """A copy of a model with the weights of a module in `blocks` from another, but "
    "no statistics."""
    twin = copy.deepcopy(model)
    theirs = dict(other.blocks[block - 1].named_parameters())
    with torch.no_grad():
        for name, weight in twin.blocks[block - 1].named_parameters():
            weight.copy_(theirs[name])
    return twin


@pytest.mark.parametrize("block", [1, 2, 3, 5])
def test_reset_blocks_against_an_edited_model(block: int) -> None:
    model, net, images = residual()
    other, initial, _ = residual(seed=9)
    stand = Stand(net, initial=initial)
    found = lesioned(Reset((block,)), stand, images)
    assert same(found, output(edited(model, other, block), images))
    assert not same(found, output(model, images))
    assert same(found, lesioned(Reset((block,)), stand, images, fast=True))
    assert torch.equal(
        lesioned(Reset((block,)), Stand(net, initial=net), images), output(net, images)
    )


def test_reset_of_a_transition_keeps_its_projection() -> None:
    model, net, images = residual()
    other, initial, _ = residual(seed=9)
    twin = edited(model, other, 4)
    twin.blocks[3].downsample = copy.deepcopy(model.blocks[3].downsample)
    found = lesioned(Reset((4,)), Stand(net, initial=initial), images)
    assert same(found, output(twin, images))


def test_reset_of_blocks_without_a_shortcut() -> None:
    plan = [("plain", 6, 1), ("plain", 6, 1)]
    model, other = build(plan), build(plan, seed=9)
    images, _ = images_for(model, 4)
    net, initial = taken_apart(model, images), taken_apart(other, images)
    found = lesioned(Reset((2,)), Stand(net, initial=initial), images)
    assert same(found, output(edited(model, other, 1), images))


def test_reset_by_a_network_with_other_weights() -> None:
    _, net, images = residual()
    wider = build([(kind, 10, stride) for kind, _, stride in PLAN], seed=1, width=10)
    stand = Stand(net, initial=taken_apart(wider, images))
    with pytest.raises(
        LesionError, match=r"reset of block 2 \(blocks.1\): the initial network has"
    ):
        lesioned(Reset((2,)), stand, images)


def weights(block: Block) -> dict[str, Tensor]:
    return dict(block.branch.named_parameters())


def variant(lesion: Lesion, net: Decomposition, block: int) -> Block:
    (step,) = lesion.program(len(net))[block - 1]
    return block_of(step, Stand(net))


@pytest.mark.parametrize("how", ["init", "permute"])
def test_fresh_weights(how: str) -> None:
    _, net, images = residual()
    kept = copy.deepcopy(net.state_dict())
    before = torch.random.get_rng_state()
    made = variant(Randomize((2,), 3, how), net, 2)
    again = variant(Randomize((2, 4), 3, how), net, 2)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert all(torch.equal(kept[name], value) for name, value in net.state_dict().items())
    for name, weight in weights(made).items():
        old = weights(net.block(2))[name]
        assert weight.shape == old.shape
        assert torch.equal(weight, weights(again)[name])
        if how == "permute":
            assert torch.equal(weight.flatten().sort().values, old.flatten().sort().values)
        if weight.numel() > 8:
            assert not torch.equal(weight, old)
            for other in (Randomize((2,), 4, how), Randomize((2,), 1003, how)):
                assert not torch.equal(weight, weights(variant(other, net, 2))[name])
    buffers = dict(net.block(2).branch.named_buffers())
    assert buffers
    assert all(torch.equal(buffers[name], value) for name, value in made.branch.named_buffers())
    assert not same(lesioned(Randomize((2,), 3, how), Stand(net), images), output(net, images))


def test_fresh_weights_are_those_of_the_modules_own_initialisation() -> None:
    _, net, _ = residual()
    made = weights(variant(Randomize((2,)), net, 2))
    for name, weight in made.items():
        if ".bn" in name:
            assert torch.equal(weight, torch.full_like(weight, name.endswith("weight")))
        else:
            fan_in = weight[0].numel()
            assert weight.abs().max() <= fan_in**-0.5  # Kaiming uniform with a = sqrt(5)
            assert weight.std() > 0.4 * fan_in**-0.5


def test_fresh_weights_of_equal_blocks_differ() -> None:
    net = taken_apart(build([("post", 6, 1)] * 2), images_for(build([("post", 6, 1)]), 3)[0])
    one, two = (list(weights(variant(Randomize((1, 2), 3), net, b)).values()) for b in (1, 2))
    assert not torch.equal(one[0], two[0])


def test_fresh_weights_of_attention() -> None:
    model = build([("attention", 0, 1)])
    net = taken_apart(model, images_for(model, 3)[0])
    made = weights(variant(Randomize((1,)), net, 1))
    (packed,) = [weight for name, weight in made.items() if name.endswith("in_proj_weight")]
    old = [weight for name, weight in weights(net.block(1)).items() if "in_proj_weight" in name]
    assert not torch.equal(packed, old[0])


def test_weights_that_no_module_can_draw_are_permuted_instead() -> None:
    model = build([("convnext", 0, 1)])
    images, _ = images_for(model, 3)
    net = taken_apart(model, images)
    with pytest.raises(LesionError) as error:
        lesioned(Randomize((1,)), Stand(net), images)
    assert str(error.value) == (
        "randomize of block 1 (blocks.0): blocks.0.gamma belongs to no module that knows "
        "how to draw "
        'it; permute the trained weights instead, how="permute"'
    )
    lesioned(Randomize((1,), how="permute"), Stand(net), images)
    mixed = build([("convnext", 0, 1), ("twice", 0, 1)])
    structure = Structure.of(taken_apart(mixed, images))
    assert [one.text for one in Choice("randomize").lesions(structure)] == ["", "2 seed0"]


# Other blocks


def test_replaced_blocks_against_an_edited_model() -> None:
    model = build([("post", 6, 1)] * 3)
    images, _ = images_for(model, 4)
    net = taken_apart(model, images)
    twin = copy.deepcopy(model)
    twin.blocks[0], twin.blocks[1] = model.blocks[2], model.blocks[0]
    lesion = Replace((1, 2), by=(3, 1))
    assert same(lesioned(lesion, Stand(net), images), output(twin, images))
    assert same(lesioned(lesion, Stand(net), images, fast=True), output(twin, images))


def test_transplanted_blocks_against_an_edited_model() -> None:
    model, net, images = residual()
    other, theirs, _ = residual(seed=9)
    twin = copy.deepcopy(model)
    twin.blocks[1], twin.blocks[3] = other.blocks[1], other.blocks[3]
    lesion = Transplant((2, 4), "other")
    stand = Stand(net, sources={"other": theirs})
    assert same(lesioned(lesion, stand, images), output(twin, images))
    itself = Stand(net, sources={"other": net})
    assert torch.equal(lesioned(lesion, itself, images), output(net, images))


# One after the other


def test_chains_of_recipes() -> None:
    model, net, images = residual()
    other, initial, _ = residual(seed=9)
    stand = Stand(net, initial=initial)
    chain = Scale((5,), 0.5).then(Reset((5,))).then(Noise((5,), 0.1, 2))
    rows = torch.arange(6)
    twin = taken_apart(edited(model, other, 5), images)
    expected = lesioned(Scale((5,), 0.5).then(Noise((5,), 0.1, 2)), Stand(twin), images, rows)
    assert same(lesioned(chain, stand, images, rows), expected)
    assert same(lesioned(chain, stand, images, rows, fast=True), expected)
    permuted = Randomize((5,), 1, "permute")
    one, two = permuted.then(Scale((5,), 0.5)), Scale((5,), 0.5).then(permuted)
    assert torch.equal(lesioned(one, stand, images), lesioned(two, stand, images))


def test_changed_blocks_beside_others() -> None:
    model = build([("pre", 6, 1)] * 2)
    images, _ = images_for(model, 4)
    net = taken_apart(model, images)
    with torch.no_grad():
        x = net.stem(images)
        one, two = (block.branch(x) for block in net)
        expected = net.head(x + 0.5 * one + two)
        mean = net.head(x + (0.5 * one + two) / 2)
    scaled = Scale((1,), 0.5)
    assert same(lesioned(scaled.then(Parallel((1, 2))), Stand(net), images), expected)
    assert same(lesioned(Parallel((1, 2)).then(scaled), Stand(net), images), expected)
    assert same(lesioned(Parallel((1, 2), mean=True).then(scaled), Stand(net), images), mean)


def test_nothing_of_the_network_is_changed() -> None:
    _, net, images = residual()
    _, initial, _ = residual(seed=9)
    kept = copy.deepcopy(net.state_dict())
    stand = Stand(net, initial=initial, sources={"x": initial}, values={5: torch.zeros(8, 4, 4)})
    for lesion in (
        Scale((5,), 0.5),
        Noise((5,)),
        MeanBranch((5,)),
        Reset((5,)),
        Randomize((5,)),
        Randomize((5,), how="permute"),
        Transplant((5,), "x"),
    ):
        lesioned(lesion, stand, images)
    assert all(torch.equal(kept[name], value) for name, value in net.state_dict().items())
    assert all(not module.training for module in net.modules())


def test_what_a_structure_says_of_a_network() -> None:
    _, net, _ = residual()
    structure = Structure.of(net)
    assert len(structure) == 5
    assert structure.transitions == (4,)
    assert structure.stages == ((1, 2, 3),)
    assert structure.batch_norms == net.batch_norms > 0
    form = structure.form(4)
    assert (form.in_shape, form.out_shape) == ((6, 8, 8), (8, 4, 4))
    assert (form.shortcut, form.weights, form.passage, form.roads) == (True, True, False, 0)
    assert structure.roads == net.road_counts
