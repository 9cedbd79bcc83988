"""Layers that add attention and MLP at once can lose one of them, however the sum is written."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from networks import Silent, Tokens, build, conv, images_for
from test_decomposition_roads import Chain, seeded
from torch import Tensor, nn

from ensembles.decomposition import Decomposition, decompose
from ensembles.engine.folding import Folder
from ensembles.engine.graphs import without_graph

Sum = Callable[["Layer", Tensor], Tensor]


class SelfAttention(nn.Module):
    """Causal attention, its query, key and value from one projection."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x).chunk(3, -1)
        return self.out(F.scaled_dot_product_attention(q, k, v, is_causal=True))


class Layer(nn.Module):
    """A transformer layer; a formula adds what attention and MLP make."""

    def __init__(self, formula: Sum, width: int) -> None:
        super().__init__()
        self.norm, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = SelfAttention(width)
        self.mlp = nn.Sequential(nn.Linear(width, 8), nn.GELU(), nn.Linear(8, width))
        self.dropout = nn.Dropout(0.1)
        self.scale = nn.Parameter(torch.rand(width) + 0.5)
        self.formula = formula

    def forward(self, x: Tensor) -> Tensor:
        return self.formula(self, x)


def neox(layer: Layer, x: Tensor) -> Tensor:
    return layer.mlp(layer.norm2(x)) + layer.attention(layer.norm(x)) + x


def gptj(layer: Layer, x: Tensor) -> Tensor:
    y = layer.norm(x)
    return layer.attention(y) + layer.mlp(y) + x


def falcon(layer: Layer, x: Tensor) -> Tensor:
    y = layer.norm(x)
    made = layer.mlp(y)
    made += layer.attention(y)
    return x + layer.dropout(made)


def stream_first(layer: Layer, x: Tensor) -> Tensor:
    y = layer.norm(x)
    return x + layer.attention(y) + layer.mlp(y)


def function(layer: Layer, x: Tensor) -> Tensor:
    y = layer.norm(x)
    return torch.add(x, torch.add(layer.attention(y), layer.mlp(y)))


def listed(layer: Layer, x: Tensor) -> Tensor:
    y = layer.norm(x)
    return sum([x, layer.attention(y), layer.mlp(y)])


def scaled_sum(layer: Layer, x: Tensor) -> Tensor:
    y = layer.norm(x)
    return x + layer.scale * (layer.attention(y) + layer.mlp(y))


def halved(layer: Layer, x: Tensor) -> Tensor:
    y = layer.norm(x)
    return (layer.attention(y) + layer.mlp(y)) * 0.5 + x


def stacked(layer: Layer, x: Tensor) -> Tensor:
    y = layer.norm(x)
    return x + torch.stack([layer.attention(y), layer.mlp(y)]).sum(dim=0)


def stacked_behind(layer: Layer, x: Tensor) -> Tensor:
    y = layer.norm(x)
    return x + torch.stack((layer.attention(y), layer.mlp(y)), -1).sum(-1)


def weighted_stack(layer: Layer, x: Tensor) -> Tensor:
    y = layer.norm(x)
    return x + layer.scale * sum([layer.attention(y), 2 * layer.mlp(y)])


FORMULAS: dict[str, Sum] = {
    one.__name__: one
    for one in (
        neox, gptj, falcon, stream_first, function, listed, scaled_sum, halved, stacked,
        stacked_behind, weighted_stack,
    )
}  # fmt: skip


def transformer(formula: Sum, layers: int = 2, width: int = 6) -> nn.Module:
    return Tokens([Kinds(formula, width) for _ in range(layers)], width)


class Kinds(Layer):
    kinds = ("residual",)


def check_roads(model: nn.Module, net: Decomposition, index: int) -> None:
    """Each road, and both, against a layer whose parts are silenced by hand."""
    images, _ = images_for(model, 3, seed=index)
    block = net.block(index)
    assert block.roads is not None and block.roads.sharing
    ends = {"attention": "attention", "mlp": "mlp"}
    with torch.no_grad():
        for number, name in enumerate(block.roads.names, 1):
            (part,) = (end for end in ends if f".{end}" in name)
            close(run(net, index, (number,), images), silenced(model, index, part)(images))
        both = silenced(model, index, "attention", "mlp")(images)
        close(run(net, index, None, images), both)


def run(net: Decomposition, index: int, roads: tuple[int, ...] | None, images: Tensor) -> Tensor:
    """The network with a block that lost roads, or its branch; plain and compiled agree."""
    x = net.stem(images)
    for block in net:
        if block.index != index:
            x = block(x)
        elif roads is None:
            x = block.deleted(x)
        else:
            out = block.dropped(x, roads)
            close(Folder().folded(without_graph(block, roads))(x.clone()), out)
            x = out
    return net.head(x)


def silenced(model: nn.Module, index: int, *parts: str) -> nn.Module:
    model = copy.deepcopy(model)
    for part in parts:
        layer = model.blocks[index - 1]
        setattr(layer, part, Silent(getattr(layer, part)))
    return model


def close(one: Tensor, other: Tensor) -> None:
    torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("form", FORMULAS)
def test_attention_and_mlp_can_go_alone_and_together(form: str) -> None:
    model = seeded(lambda: transformer(FORMULAS[form]))
    images, _ = images_for(model, 2)
    net = decompose(model, images)
    assert [block.kind for block in net] == ["residual"] * 2
    assert (net.road_counts, net.transitions) == ((2, 2), ())
    for index in (1, 2):
        if form != "neox":
            check_roads(model, net, index)


def test_norms_of_their_own_make_roads_of_their_own() -> None:
    model = seeded(lambda: transformer(neox))
    images, _ = images_for(model, 2)
    net = decompose(model, images)
    roads = net.block(1).roads
    assert roads is not None and not roads.sharing
    assert len(roads) == 2
    with torch.no_grad():
        close(run(net, 1, (1,), images), silenced(model, 1, "mlp")(images))
        close(run(net, 1, (2,), images), silenced(model, 1, "attention")(images))


@settings(max_examples=12, deadline=None)
@given(
    st.lists(st.sampled_from([f for f in FORMULAS if f != "neox"]), min_size=1, max_size=3),
    st.sampled_from([4, 6]),
    st.integers(0, 100),
)
def test_mixed_layers(forms: list[str], width: int, seed: int) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = Tokens([Kinds(FORMULAS[form], width) for form in forms], width).eval()
    images, _ = images_for(model, 2)
    net = decompose(model, images)
    for block in net:
        check_roads(model, net, block.index)


def test_one_projection_for_attention_and_mlp() -> None:
    """As in ViT-22B: both begin in one layer, so that they share weights and still can go alone."""

    class Fused(nn.Module):
        kinds = ("residual",)

        def __init__(self, width: int) -> None:
            super().__init__()
            self.norm, self.into = nn.LayerNorm(width), nn.Linear(width, 5 * width)
            self.attention, self.mlp = nn.Linear(width, width), nn.Linear(2 * width, width)

        def forward(self, x: Tensor) -> Tensor:
            width = x.shape[-1]
            q, k, v, h = self.into(self.norm(x)).split([width] * 3 + [2 * width], -1)
            mixed = F.scaled_dot_product_attention(q, k, v)
            return x + (self.attention(mixed) + self.mlp(F.gelu(h)))

    model = seeded(lambda: Tokens([Fused(6), Fused(6)], 6))
    images, _ = images_for(model, 2)
    net = decompose(model, images)
    assert net.road_counts == (2, 2)
    for index in (1, 2):
        check_roads(model, net, index)


class Nested(nn.Module):
    """Its branch has a shortcut of its own, whose value the second layer reads."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = conv(4, 4), conv(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        h = self.a(x).relu()
        return x + (h + self.b(h))


class Halves(nn.Module):
    """Its branch concatenates two layers that read one value."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = conv(4, 4), conv(4, 2), conv(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        h = self.a(x).relu()
        return x + torch.cat([self.b(h), self.c(h)], 1)


@pytest.mark.parametrize("make", [Nested, Halves])
def test_branches_that_are_one(make: type[nn.Module]) -> None:
    net = decompose(seeded(lambda: Chain(make())), torch.randn(2, 3, 8, 8))
    assert (net.road_counts, [block.kind for block in net]) == ((0,), ["residual"])


class Odd(nn.Module):
    """Sums with a number, and of a value with itself."""

    def __init__(self, formula: Callable[[Tensor, nn.Module], Tensor]) -> None:
        super().__init__()
        self.layer, self.formula = conv(4, 4), formula

    def forward(self, x: Tensor) -> Tensor:
        return self.formula(x, self.layer)


@pytest.mark.parametrize(
    ("formula", "road"),
    [
        (lambda x, f: x + f(x) + 3, "identity"),
        (lambda x, f: (x + 3) + f(x), "fixed"),
        (lambda x, f: (x + x) + f(x), "fixed"),
        (lambda x, f: x + (y := f(x)) + y, "identity"),
        (lambda x, f: 0 + x + (f(x) + 0), "identity"),
    ],
)
def test_odd_sums(formula: Callable[[Tensor, nn.Module], Tensor], road: str) -> None:
    model = seeded(lambda: Chain(Odd(formula), Odd(formula)))
    images = torch.randn(2, 3, 8, 8)
    net = decompose(model, images)
    assert [(block.kind, block.road) for block in net] == [("residual", road)] * 2
    with torch.no_grad():
        close(net(images), model(images))
        edited = copy.deepcopy(model)
        for block in edited.blocks:
            block.layer = Silent(block.layer)
        x = net.stem(images)
        for block in net:
            x = x if block.before is None else block.before(x)
            x = block.deleted(x)
        close(net.head(x), edited(images))


def test_the_roads_of_version_1_keep_their_numbers() -> None:
    images = torch.randn(2, 3, 8, 8)
    net = decompose(build([("three", 6, 1), ("inception", 8, 1)]), images)
    assert [block.roads is not None and block.roads.sharing for block in net] == [False]
    net = decompose(build([("inception", 8, 1)]), images)
    assert net.road_counts == (3,)
