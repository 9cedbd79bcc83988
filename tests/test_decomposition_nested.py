"""Blocks that lie beside or inside each other, and what blocks read beside their input."""

from __future__ import annotations

import re
from typing import Any, cast

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from lesion_values import any_lesions
from torch import Tensor, nn

import ensembles
from ensembles.catalogue.structure import describe
from ensembles.cli.inspect_ import _lines
from ensembles.decomposition import Decomposition
from ensembles.decomposition.inputs import called
from ensembles.engine.direct import Direct
from ensembles.engine.materials import Materials
from ensembles.engine.shared import SharedPrefixes
from ensembles.errors import DecompositionError, LesionError
from ensembles.lesions import Delete, Drop, Lesion, parse_lesion
from ensembles.lesions.structure import Structure
from tests.nested_networks import (
    NESTED,
    CrossStage,
    LongSkip,
    Masked,
    Network,
    Pooled,
    Resolutions,
    Reversible,
    Supervised,
    made,
)


def outputs(net: Decomposition, lesions: list[Lesion], example: Any) -> list[list[Tensor]]:
    """What both engines and the modules of their own give under each lesion."""
    programs = [lesion.program(len(net)) for lesion in lesions]
    about = Materials(net), torch.device("cpu"), torch.float32
    found = []
    for engine in (Direct, SharedPrefixes):
        run = engine(net, programs, *about)
        found.append([out for _, out in sorted(run.run(example), key=lambda pair: pair[0])])
    found.append([called(net.lesioned(lesion), example) for lesion in lesions])
    return found


@pytest.mark.parametrize("kind", NESTED)
@torch.no_grad()
def test_each_sum_is_a_block_and_its_deletion_is_the_hand_edit(kind: type[Network]) -> None:
    model = made(kind)
    net = ensembles.decompose(model, model.example)
    sums = model.sums()
    homes = [name if name in sums else name.removesuffix(".branch") for name in net.names]
    assert sorted(homes) == sorted(sums) and len(net) == kind.count
    assert torch.allclose(net(model.example), called(model, model.example), atol=1e-6)
    pairs = [(1, len(net)), (2, 3)]
    sets = [(block.index,) for block in net] + pairs
    found = outputs(net, [Delete(blocks) for blocks in sets], model.example)
    for place, blocks in enumerate(sets):
        for block in blocks:
            sums[homes[block - 1]].cut = True
        expected = called(model, model.example)
        for block in blocks:
            sums[homes[block - 1]].cut = False
        for engine in found:
            assert torch.allclose(engine[place], expected, atol=1e-5), blocks
        assert not torch.allclose(expected, called(model, model.example), atol=1e-4), blocks


@torch.no_grad()
def test_states_that_the_head_reads_are_blocks() -> None:
    """What is added to several of them is no part of the last sum alone."""
    model = made(Pooled)
    net = ensembles.decompose(model, model.example)
    assert net.names == ("blocks.0", "blocks.1", "blocks.2", "blocks") and net.is_nested
    for number, block in enumerate(model.sums().values(), 1):
        block.cut = True
        lesioned = net.lesioned(Delete((number,)))(model.example)
        assert torch.allclose(lesioned, model(model.example), atol=1e-5)
        block.cut = False
    assert "2 more within them (nested=True)" in str(
        ensembles.decompose(made(Supervised), Supervised.example)
    )


def test_numbers_are_plain_and_read_back() -> None:
    """Nested blocks are counted on, so that no text of a lesion means two things."""
    net = ensembles.decompose(made(LongSkip), LongSkip.example)
    assert [block.index for block in net] == list(range(1, 8))
    assert net.block(7).holds == (1, 2, 3, 4, 5, 6) and net.names[6] == "body"
    for kind, text in (("delete", "3 7"), ("scale", "7 x0.5"), ("reorder", "2-5")):
        assert parse_lesion(kind, text).text == text


NEST = Structure.of(ensembles.decompose(made(LongSkip), LongSkip.example))


@given(any_lesions(len(NEST)))
def test_every_text_means_the_same_lesion_where_blocks_lie_inside_others(lesion: Lesion) -> None:
    """Numbers of nested blocks are whole: a point in a text stands before a road, never a block."""
    back = parse_lesion(lesion.kind, lesion.text)
    assert back == lesion and back.text == lesion.text
    found = []
    for one in (lesion, back):
        try:
            one.check(NEST)
            found.append(one.program(len(NEST)))
        except LesionError as error:
            found.append(str(error))
    assert found[0] == found[1]


@given(st.integers(1, len(NEST)), st.integers(1, 9))
def test_a_point_in_a_text_stands_before_a_road(block: int, road: int) -> None:
    text = f"{block}.{road}"
    assert parse_lesion("drop", text) == Drop(((block, road),))
    with pytest.raises(LesionError, match=re.escape(text)):
        parse_lesion("delete", text)


@pytest.mark.parametrize("kind", [Masked, CrossStage])
@torch.no_grad()
def test_both_engines_agree_on_other_lesions(kind: type[Network]) -> None:
    model = made(kind)
    net = ensembles.decompose(model, model.example)
    texts = [("scale", "2 x0.5"), ("duplicate", "1"), ("reorder", "1-2"), ("replace", "1<-2")]
    if kind is Masked:
        texts = [
            ("scale", "3 x2.0"),
            ("duplicate", "3"),
            ("reorder", "2-4 1-3"),
            ("replace", "1<-3"),
            ("parallel", "1 2"),
            ("repeat", "1-4 x2"),
            ("noise", "3 s0.1 seed3"),
        ]
        texts = texts[:4]
    direct, shared, whole = outputs(net, [parse_lesion(*one) for one in texts], model.example)
    for one, other, module in zip(direct, shared, whole, strict=True):
        assert torch.allclose(one, other, atol=1e-6) and torch.allclose(one, module, atol=1e-6)
        assert not torch.allclose(one, called(model, model.example), atol=1e-4)


@pytest.mark.parametrize(
    ("kind", "lesion", "message"),
    [
        (LongSkip, ("reorder", "6-7"), "holds others within its branch (1, 2, 3, 4, 5, 6)"),
        (LongSkip, ("duplicate", "7"), "holds others within its branch"),
        (Reversible, ("reorder", "2-4"), "holds others within its branch"),
        (CrossStage, ("repeat", "1-3 x2"), "something that is no block stands before block 3"),
    ],
)
def test_what_has_no_meaning_is_refused(
    kind: type[Network], lesion: tuple[str, str], message: str
) -> None:
    net = ensembles.decompose(made(kind), kind.example)
    with pytest.raises(LesionError) as error:
        net.lesioned(parse_lesion(*lesion))
    assert message in str(error.value)


def test_a_chain_alone_is_taken_where_it_is_asked_for() -> None:
    model = made(LongSkip)
    net = ensembles.decompose(model, model.example, nested=False)
    assert net.names == ("body",) and not net.is_nested
    assert ensembles.decompose(model, model.example, nested=True).names[:1] == ("body.branch.0",)


def test_a_mask_that_layers_add_is_no_shortcut() -> None:
    model = made(Masked)
    for nested in (None, True):
        net = ensembles.decompose(model, model.example, nested=nested)
        assert (len(net), net.inside) == (Masked.count, 0)


def test_a_chain_without_blocks_is_refused_with_where_they_are_looked_for() -> None:
    with pytest.raises(DecompositionError, match=r"nested=False \(--chain\) looks nowhere else"):
        ensembles.decompose(made(Resolutions), Resolutions.example, nested=False)


class Values(nn.Module):
    """Two layers, of which the second mixes values of the first in (value residual learning)."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.head = nn.Linear(6, 4), nn.Linear(4, 3)
        self.layers = nn.ModuleList(ValueLayer() for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        x, first = self.stem(x), None
        for layer in self.layers:
            assert isinstance(layer, ValueLayer)
            x, value = layer(x, first)
            first = value if first is None else first
        out: Tensor = self.head(x)
        return out


class ValueLayer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.value, self.mix, self.out = (nn.Linear(4, 4) for _ in range(3))

    def forward(self, x: Tensor, first: Tensor | None) -> tuple[Tensor, Tensor]:
        value = self.value(x)
        if first is not None:
            mix = self.mix(x).sigmoid()
            value = value * mix + first * (1.0 - mix)
        return x + self.out(value.tanh()), value


def test_values_of_an_earlier_layer_are_mixed_in_by_a_gate_of_the_later_one() -> None:
    model, rows = Values().eval(), torch.randn(3, 6)
    net = ensembles.decompose(model, rows)
    assert [(block.name, block.kind) for block in net] == [
        ("layers.0", "residual"),
        ("layers.1", "gated"),
        ("layers.1.out", "residual"),
    ]
    model.layers[1].out.register_forward_hook(lambda _layer, _args, out: out * 0)
    with torch.no_grad():
        torch.testing.assert_close(net.lesioned(Delete((3,)))(rows), model(rows))


def test_a_plain_chain_is_as_it_was() -> None:
    model = ensembles.create_model("resnet20")
    images = torch.zeros(2, 3, 32, 32)
    net = ensembles.decompose(model, images, nested=True)
    assert not net.is_nested and len(net) == 9 and net.inside == 0


def test_inspect_says_where_blocks_were_looked_for() -> None:
    model = made(LongSkip)
    lines = {
        nested: "\n".join(
            _lines(describe(ensembles.decompose(model, model.example, nested=nested)))
        )
        for nested in (None, False)
    }
    assert "7 blocks" in lines[None] and "1, 2, 3, 4, 5, 6" in lines[None]
    assert "every path leads through 1 of those with a shortcut (--chain leaves" in lines[None]
    assert "1 blocks" in lines[False] and "looked for beside" not in lines[False]


def test_nested_blocks_are_taken_by_their_names() -> None:
    model = made(CrossStage)
    net = ensembles.decompose(model, model.example, blocks=["first.0", "second.1"])
    assert net.names == ("first.0", "second.1") and net.is_nested
    with pytest.raises(DecompositionError) as error:
        ensembles.decompose(model, model.example, blocks=["first", "head"])
    assert "first" in str(error.value)


class _Beside(nn.Module):
    """Half of the channels goes past two blocks of a given form."""

    def __init__(self, form: str) -> None:
        super().__init__()
        self.form, self.stem = form, nn.Conv2d(3, 8, 3, padding=1)
        self.blocks = nn.ModuleList(_Part() for _ in range(2))
        self.head = nn.Linear(8, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        one, other = self.stem(x).chunk(2, 1)
        for block in self.blocks:
            if self.form == "interpolation":
                other = other + block.gain * (block.made(other) - other)
            elif self.form == "projection":
                other = block.way(torch.relu(block.norm(other))) + block.made(other)
            else:
                one = (one + block.made(other)).contiguous()
                one, other = other, one
        return cast(torch.Tensor, self.head(torch.cat([one, other], 1).tanh().mean((2, 3))))


class _Part(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        layers = [nn.Conv2d(4, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 4, 3, padding=1)]
        self.made, self.norm, self.way = (
            nn.Sequential(*layers),
            nn.BatchNorm2d(4),
            nn.Conv2d(4, 4, 1),
        )
        self.gain = nn.Parameter(torch.full((4, 1, 1), 0.3))


@pytest.mark.parametrize("form", ["interpolation", "projection", "streams"])
@torch.no_grad()
def test_sums_beside_the_chain_are_one_block_each(form: str) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = _Beside(form).eval()
    images = torch.randn(3, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    net = ensembles.decompose(model, images)
    assert [block.kind for block in net] == ["residual"] * 2
    one, other = model.stem(images).chunk(2, 1)
    block = model.blocks[1]
    if form == "interpolation":
        other = other + block.gain * (block.made(other) - other)
    elif form == "projection":
        other = block.way(torch.relu(block.norm(other))) + block.made(other)
    else:
        one, other = other, one
        one, other = other, one + block.made(other)
    expected = model.head(torch.cat([one, other], 1).tanh().mean((2, 3)))
    if form != "projection":
        torch.testing.assert_close(net.lesioned(parse_lesion("delete", "1"))(images), expected)
