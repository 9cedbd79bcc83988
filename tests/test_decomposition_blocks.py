"""Blocks scaled, side by side and with other branches, against sums written by hand."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from networks import build, images_for, random_networks
from test_decomposition_roads import FORMULAS, Chain, Gate, seeded
from torch import Tensor, nn

from ensembles.decomposition import Block, Decomposition, decompose, walk
from ensembles.decomposition.blocks import KINDS
from ensembles.decomposition.walk import last_output
from ensembles.engine.folding import Folder
from ensembles.engine.graphs import block_graph, bypass_graph
from ensembles.errors import LesionError
from ensembles.models.fractal import CifarFractalNet
from ensembles.models.highway import HighwayNetwork
from ensembles.models.rir import CifarRiR

close = torch.testing.assert_close


def inputs_of(net: Decomposition, images: Tensor) -> list[tuple[Block, Tensor]]:
    """Each block with its input."""
    found, x = [], net.stem(images)
    for block in net:
        x = x if block.before is None else block.before(x)
        found.append((block, x))
        x = block(x)
    return found


def compiled(block: Block) -> nn.Module:
    """The block as an engine runs it."""
    return Folder().folded(block_graph(block))


def special(name: str) -> Decomposition:
    """Networks of the kinds that `networks` does not draw."""
    make = {
        "highway": lambda: HighwayNetwork((4, 6), (3, 2), hidden=4, gate_bias=0.0),
        "gated": lambda: Chain(*(Gate(formula) for formula in FORMULAS.values())),
        "two streams": lambda: CifarRiR((4, 6), (2, 2)),
        "fractal": lambda: CifarFractalNet((4, 6), 2),
    }
    images = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    return decompose(seeded(make[name]), images)


SPECIAL = ("highway", "gated", "two streams", "fractal")


def by_hand(block: Block, x: Tensor, factor: float) -> Tensor:
    """What a block computes whose branch counts a given number of times."""
    start = x if block.pre is None else block.pre(x)
    branch = factor * block.branch(start)
    if block.kind == "dense":
        total = torch.cat([start, branch], 1)
    else:
        carried = start if block.shortcut is None else block.shortcut(start)
        if block.gate is not None:
            t = block.gate(start)
            branch = t * branch if block.gates_branch else branch
            carried = (1 - factor * t) * carried
        total = carried + branch
    return total if block.post is None else block.post(total)


def check_scaled(net: Decomposition, images: Tensor, factor: float) -> None:
    with torch.no_grad():
        for block, x in inputs_of(net, images):
            if not block.has_shortcut:
                with pytest.raises(LesionError, match=f"block {block.index} .*has no shortcut"):
                    block.scaled(factor)
                continue
            close(block.scaled(0.0)(x), block.deleted(x), rtol=0, atol=0)
            assert block.scaled(1.0) is block
            scaled = block.scaled(factor)
            close(scaled(x), by_hand(block, x, factor))
            close(compiled(scaled)(x), by_hand(block, x, factor), rtol=1e-4, atol=1e-5)
            twice = block.scaled(factor).scaled(2.0)
            close(twice(x), by_hand(block, x, 2 * factor), rtol=1e-4, atol=1e-5)


@settings(max_examples=12, deadline=None)
@given(random_networks(), st.sampled_from([-1.0, 0.25, 0.5, 3.0]))
def test_scaled_branches(model: nn.Module, factor: float) -> None:
    images, _ = images_for(model, 3)
    check_scaled(decompose(model, images[:2]), images, factor)


@pytest.mark.parametrize("name", SPECIAL)
def test_scaled_gates_and_streams(name: str) -> None:
    images = torch.randn(3, 3, 8, 8)
    check_scaled(special(name), images, 0.5)


def test_a_branch_that_overflows_is_nought_where_it_is_scaled_to_nought() -> None:
    block = decompose(build([("pre", 6, 1)]), torch.randn(2, 3, 8, 8)).block(1)
    endless = block.with_branch(Endless())
    x = torch.randn(2, 6, 8, 8)
    close(endless.scaled(0)(x), endless.deleted(x), rtol=0, atol=0)


class Endless(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.full_like(x, torch.inf)


def groups(net: Decomposition) -> list[list[Block]]:
    """Blocks that may run side by side: neighbours of one shape and of one build."""
    found: dict[object, list[Block]] = {}
    for block in net:
        if block.has_shortcut and not block.is_transition and block.in_shape == block.out_shape:
            found.setdefault((block.in_shape, block.post is None), []).append(block)
    return [group for group in found.values() if len(group) > 1]


@settings(max_examples=12, deadline=None)
@given(
    st.lists(st.sampled_from(["post", "pre", "bottleneck", "convnext", "three"]), min_size=2,
             max_size=4),
    st.booleans(),
    st.integers(0, 100),
)  # fmt: skip
def test_side_by_side(kinds: list[str], mean: bool, seed: int) -> None:
    model = build([(kind, 6, 1) for kind in kinds], seed)
    images, _ = images_for(model, 3)
    net = decompose(model, images[:2])
    x = net.stem(images)
    with torch.no_grad():
        for first, *others in groups(net):
            joint = first.beside(others, mean)
            branches = sum(block.branch(x) for block in (first, *others))
            total = x + (branches / (1 + len(others)) if mean else branches)
            expected = total if first.post is None else first.post(total)
            close(joint(x), expected, rtol=1e-4, atol=1e-5)
            close(compiled(joint)(x.clone()), expected, rtol=1e-3, atol=1e-4)
            close(joint.deleted(x), first.deleted(x))


@pytest.mark.parametrize("mean", [False, True])
@pytest.mark.parametrize("form", FORMULAS)
def test_gates_side_by_side(form: str, mean: bool) -> None:
    model = seeded(lambda: Chain(Gate(FORMULAS[form]), Gate(FORMULAS[form])))
    net = decompose(model, torch.randn(2, 3, 8, 8))
    x = torch.randn(2, 4, 8, 8)
    with torch.no_grad():
        changes = sum(block(x) - x for block in model.blocks)
        joint = net.block(1).beside([net.block(2)], mean)
        close(joint(x), x + (changes / 2 if mean else changes), rtol=1e-4, atol=1e-5)
        close(compiled(joint)(x), joint(x), rtol=1e-4, atol=1e-5)


@settings(max_examples=10, deadline=None)
@given(random_networks())
def test_a_block_beside_no_other_is_itself(model: nn.Module) -> None:
    images, _ = images_for(model, 2)
    assert all(block.beside([]) is block for block in decompose(model, images))


REFUSED: dict[str, tuple[Callable[[], Decomposition], tuple[int, int], str]] = {
    "no shortcut": (
        lambda: taken(("plain", 6, 1), ("plain", 6, 1)),
        (1, 2),
        r"block 1 \(.*\) is plain and has no shortcut: its branch cannot be added to others",
    ),
    "a transition": (
        lambda: taken(("post", 6, 1), ("post", 8, 2)),
        (1, 2),
        r"block 1 \(.*\) and block 2 \(.*\) cannot run side by side: block 2 is a transition",
    ),
    "shapes": (
        lambda: taken(("pre", 6, 1), ("post", 8, 2), ("pre", 8, 1)),
        (1, 3),
        "inputs have the shapes 6x8x8 and 8x4x4; choose blocks of one stage",
    ),
    "posts": (
        lambda: taken(("pre", 6, 1), ("post", 6, 1)),
        (1, 2),
        "what follows the sum, or leads around the branch, is not the same in both",
    ),
    "closed": (
        lambda: special("two streams"),
        (1, 2),
        "weights follow the sum in block 1 .a norm after the addition.",
    ),
    "dense": (
        lambda: taken(("dense", 6, 1), ("dense", 6, 1)),
        (1, 2),
        "is dense: it adds channels of its own",
    ),
    "kinds": (
        lambda: taken(("pre", 6, 1), ("dense", 6, 1)),
        (1, 2),
        "one is residual, the other dense; choose blocks of one kind",
    ),
}


def taken(*plan: tuple[str, int, int]) -> Decomposition:
    return decompose(build(list(plan)), torch.randn(2, 3, 8, 8))


@pytest.mark.parametrize("case", REFUSED)
def test_blocks_that_cannot_run_side_by_side(case: str) -> None:
    make, (first, second), message = REFUSED[case]
    net = make()
    with pytest.raises(LesionError, match=message):
        net.block(first).beside([net.block(second)])


@settings(max_examples=10, deadline=None)
@given(random_networks())
def test_another_branch_leaves_the_rest(model: nn.Module) -> None:
    images, _ = images_for(model, 2)
    net = decompose(model, images)
    with torch.no_grad():
        for block, x in inputs_of(net, images):
            expected, names = block(x), [name for name, _ in block.named_modules()]
            other = block.with_branch(Wrapped(block.branch))
            close(other(x), expected)
            close(compiled(other)(x.clone()), expected, rtol=1e-4, atol=1e-5)
            if block.has_shortcut:
                bypass = bypass_graph(other) or nn.Identity()
                close(Folder().folded(bypass)(x.clone()), block.deleted(x), rtol=1e-4, atol=1e-5)
            assert other.roads is None and other.branch is not block.branch
            assert (other.index, other.name, other.kind) == (block.index, block.name, block.kind)
            assert [name for name, _ in block.named_modules()] == names  # untouched


class Wrapped(nn.Module):
    """A module that no compiler looks into."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x)


def test_each_kind_is_a_class() -> None:
    assert list(KINDS) == [
        "residual", "gated", "two-stream", "dense", "parallel", "fractal", "plain", "member",
    ]  # fmt: skip
    assert {kind for kind, cls in KINDS.items() if cls.has_shortcut} == {
        "residual", "gated", "two-stream", "dense",
    }  # fmt: skip
    assert [kind for kind, cls in KINDS.items() if not cls.ordered] == ["member"]


def test_a_norm_after_the_sum_closes_a_block() -> None:
    assert all(block.is_closed for block in special("two streams"))
    assert not any(block.is_closed for block in taken(("post", 6, 1), ("pre", 6, 1)))


def test_batch_norms_are_counted_once() -> None:
    net = taken(("pre", 6, 1), ("three", 6, 1), ("post", 8, 2))
    assert net.batch_norms == 1 + 2 + 3  # stem; two in the first block; shortcut and two


@settings(max_examples=10, deadline=None)
@given(random_networks())
def test_the_walk_gives_each_block_with_its_input_and_output(model: nn.Module) -> None:
    images, _ = images_for(model, 3)
    net = decompose(model, images[:2])
    with torch.no_grad():
        visits = list(walk(net, images))
        assert [block for block, _, _ in visits] == list(net)
        for (block, x, y), (_, expected) in zip(visits, inputs_of(net, images), strict=True):
            assert x.shape[1:] == block.in_shape and y.shape[1:] == block.out_shape
            close(x, expected, rtol=0, atol=0)
            close(y, block(x), rtol=0, atol=0)
        close(net.head(visits[-1][2]), net(images), rtol=0, atol=0)
        assert [id(block) for block, _, _ in net.walk(images)] == [id(block) for block in net]


def test_the_walk_runs_what_it_is_given() -> None:
    net = special("highway")  # something stands before its third block
    images, between = torch.randn(2, 3, 8, 8), []

    def run(block: Block, x: Tensor) -> Tensor:
        return block.deleted(x) if block.index == 2 else block(x)

    def counted(part: nn.Module, x: Tensor) -> Tensor:
        between.append(part)
        return part(x)

    with torch.no_grad():
        found = last_output(walk(net, images, run, counted))
        x = net.block(1)(net.stem(images))
        expected = net.block(3)(net.block(3).before(net.block(2).deleted(x)))
    close(found, expected, rtol=0, atol=0)
    assert between == [net.stem, net.block(3).before]
