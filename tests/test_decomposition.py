"""Networks of every kind of block are taken apart, and deletions are what an edited module does."""

from __future__ import annotations

import copy

import pytest
import torch
from hypothesis import given, settings
from networks import (
    CLASSES,
    KINDS,
    TOKEN_KINDS,
    Attention,
    Tokens,
    build,
    images_for,
    random_networks,
    silenced,
)
from torch import nn

from ensembles.decomposition import Decomposition, decompose
from ensembles.errors import LesionError


def assert_same(model, net, images):
    """Equal logits, for any number of images."""
    with torch.no_grad():
        for count in {1, 2, 3, len(images)}:
            expected = model(images[:count].clone())
            torch.testing.assert_close(net(images[:count]), expected, rtol=1e-4, atol=1e-5)


def with_deleted(net: Decomposition, index, images):
    x = net.stem(images)
    for block in net:
        x = x if block.before is None else block.before(x)
        x = block.deleted(x) if block.index == index else block(x)
    return net.head(x)


def taken_apart(model, seed=0):
    images, _ = images_for(model, 5, seed)
    return decompose(model, images[:2]), images


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_of_block(kind, stride):
    model = build([(kind, 8, stride), ("plain", 6, 1)])
    net, images = taken_apart(model)
    assert [block.kind for block in net] == model.kinds
    assert [block.index for block in net] == list(range(1, len(net) + 1))
    assert_same(model, net, images)


@pytest.mark.parametrize("kind", TOKEN_KINDS)
def test_each_kind_of_token_block(kind):
    model = build([(kind, 0, 1)] * 2)
    net, images = taken_apart(model)
    assert [block.kind for block in net] == model.kinds
    assert all(block.in_shape == block.out_shape == (5, 6) for block in net)
    assert not net.transitions
    assert_same(model, net, images)


@settings(max_examples=20, deadline=None)
@given(random_networks())
def test_random_chains(model):
    net, images = taken_apart(model)
    assert [block.kind for block in net] == model.kinds
    assert_same(model, net, images)
    with torch.no_grad():
        for block in net:
            if block.has_shortcut:
                expected = silenced(model, block.index)(images)
                found = with_deleted(net, block.index, images)
                torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


@settings(max_examples=15, deadline=None)
@given(random_networks())
def test_shortcut_and_branch_add_up(model):
    net, images = taken_apart(model)
    with torch.no_grad():
        x = net.stem(images)
        for block in net:
            x = x if block.before is None else block.before(x)
            assert x.shape[1:] == block.in_shape
            out = block(x)
            assert out.shape[1:] == block.out_shape
            if block.has_shortcut:
                start = x if block.pre is None else block.pre(x)
                total = block.on_shortcut(start) + block.on_branch(start)
                total = total if block.post is None else block.post(total)
                torch.testing.assert_close(total, out, rtol=1e-4, atol=1e-5)
            x = out


def replaced(model, position, stand_in):
    edited = copy.deepcopy(model)
    edited.blocks[position] = stand_in
    return edited


class Subsampled(nn.Module):
    """Every second position, channels cut or padded with zeros: by hand."""

    def __init__(self, channels, stride):
        super().__init__()
        self.channels, self.stride = channels, stride

    def forward(self, x):
        x = x[:, : self.channels, :: self.stride, :: self.stride]
        zeros = torch.zeros(len(x), self.channels - x.shape[1], *x.shape[2:])
        return torch.cat([x, zeros], 1)


@pytest.mark.parametrize("kind", ["plain", "inception", "shuffle"])
def test_a_block_without_shortcut_becomes_the_identity(kind):
    model = build([(kind, 6, 1), (kind, 6, 1)])
    net, images = taken_apart(model)
    index = 3 if kind == "plain" else 2  # the plain stem is a block too
    with torch.no_grad():
        expected = replaced(model, 1, nn.Identity())(images)
        torch.testing.assert_close(with_deleted(net, index, images), expected)
    assert net.block(index).adaptation == ""


@pytest.mark.parametrize("kind", ["plain", "inception"])
@pytest.mark.parametrize(("channels", "stride"), [(6, 2), (9, 1), (9, 2), (5, 2)])
def test_where_the_shape_changes_a_fixed_map_stands_in(kind, channels, stride):
    model = build([(kind, 6, 1), (kind, channels, stride)])
    net, images = taken_apart(model)
    index = 3 if kind == "plain" else 2
    with torch.no_grad():
        expected = replaced(model, 1, Subsampled(channels, stride))(images)
        torch.testing.assert_close(with_deleted(net, index, images), expected)
    words = [f"6 -> {channels} channels"] * (channels != 6) + ["8x8 -> 4x4"] * (stride == 2)
    assert net.block(index).adaptation == ", ".join(words)
    assert net.block(index).is_transition


@pytest.mark.parametrize(
    ("layer", "shape", "text"),
    [
        (nn.Conv1d(4, 6, 3, 2, 1), (4, 8), "4 -> 6 channels, 8 -> 4"),
        (nn.Conv3d(4, 3, 1), (4, 2, 2, 2), "4 -> 3 channels"),
        (nn.Linear(8, 5), (4, 8), "8 -> 5 channels"),
        (nn.Linear(8, 5), (2, 2, 8), "8 -> 5 channels"),
        (nn.Linear(8, 5), (8,), "8 -> 5 channels"),
    ],
)
def test_which_dimension_holds_the_channels(layer, shape, text):
    class Around(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = layer
            self.head = nn.Linear(self.layer(torch.zeros(1, *shape)).numel(), CLASSES)

        def forward(self, x):
            return self.head(self.layer(x).flatten(1))

    images = torch.randn(3, *shape, generator=torch.Generator().manual_seed(0))
    block = decompose(Around(), images).block(1)
    assert block.adaptation == text
    assert block.deleted(images).shape[1:] == block.out_shape


def test_transitions_of_both_residual_forms():
    model = build([("post", 6, 1), ("post", 8, 2), ("pre", 8, 1), ("pre", 9, 1), ("pre", 9, 2)])
    net, _ = taken_apart(model)
    assert net.transitions == (2, 4, 5)
    assert [block.post is not None for block in net] == [True, True, False, False, False]
    assert [block.pre is not None for block in net] == [False, False, False, True, True]
    assert [block.name for block in net] == [f"blocks.{i}" for i in range(5)]
    assert [(block.weight_layers, block.shortcut_layers) for block in net] == [
        (2, 0), (2, 1), (2, 0), (2, 1), (2, 1),
    ]  # fmt: skip
    assert net.num_classes == CLASSES and net.input_shape == (3, 8, 8)
    assert net.found == {"residual": 5, "plain": 2}


def test_names_within_a_transformer():
    net, _ = taken_apart(build([("attention", 0, 1), ("side", 0, 1)]))
    assert net.names == ("blocks.0.attention", "blocks.0.mlp", "blocks.1")


def test_the_fused_path_of_attention_is_put_back():
    before = torch.backends.mha.get_fastpath_enabled()
    layer = nn.TransformerEncoderLayer(6, 2, 8, batch_first=True)
    layer.kinds = ("residual", "residual")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = Tokens([layer, Attention(6)], 6).eval()
    net, images = taken_apart(model)
    assert len(net) == 4
    assert_same(model, net, images)
    assert torch.backends.mha.get_fastpath_enabled() == before


def test_all_three_groups_of_kinds_can_be_asked_for():
    model = build([("post", 6, 1), ("inception", 8, 1), ("plain", 6, 1), ("dense", 0, 1)])
    images, _ = images_for(model, 2)
    assert [b.kind for b in decompose(model, images)] == ["residual", "dense"]
    assert [b.kind for b in decompose(model, images, kinds=["parallel"])] == ["parallel"]
    plain = decompose(model, images, kinds=["plain"])
    assert plain.names == ("stem.0", "blocks.2.conv", "classifier")
    every = decompose(model, images, kinds=["residual", "dense", "parallel", "plain"])
    assert len(every) == 6
    for net in (plain, every):
        assert_same(model, net, images)


def test_a_block_number_out_of_range():
    net, _ = taken_apart(build([("post", 6, 1)] * 3))
    assert net.block(3).index == 3
    for index in (0, 4):
        with pytest.raises(LesionError, match=f"block {index}: the network has blocks 1 to 3"):
            net.block(index)


def test_a_block_that_nothing_can_stand_in_for():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(4 * 36, CLASSES))
    images = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    net = decompose(
        nn.Sequential(model, nn.ReLU(), nn.Linear(CLASSES, CLASSES)), images, blocks=["0"]
    )
    assert not net.block(1).deletable
    with pytest.raises(LesionError, match=r"block 1 \(0\) cannot be deleted: it turns shape"):
        net.block(1).deleted(net.stem(images))


class Untouched:
    """Everything of a model that `decompose` must leave as it was."""

    def __init__(self, model):
        self.fired = []
        model.register_forward_hook(lambda *_: self.fired.append("after"))
        model.register_forward_pre_hook(lambda *_: self.fired.append("before"))
        first = next(m for m in model.modules() if isinstance(m, nn.Conv2d))
        first.register_forward_hook(lambda *_: self.fired.append("inner"))
        first.weight.requires_grad_(False)
        first.weight.grad = torch.ones_like(first.weight)
        self.model = model
        self.before = self.state()

    def state(self):
        modules = list(self.model.named_modules())
        return {
            "training": [(name, module.training) for name, module in modules],
            "hooks": [
                (name, len(m._forward_hooks), len(m._forward_pre_hooks)) for name, m in modules
            ],
            "inplace": [(name, getattr(module, "inplace", None)) for name, module in modules],
            "types": [(name, type(module)) for name, module in modules],
            "grads": [
                (n, p.requires_grad, p.grad is None) for n, p in self.model.named_parameters()
            ],
            "tensors": {name: t.clone() for name, t in self.model.state_dict().items()},
            "ids": [id(p) for p in self.model.parameters()],
        }

    def check(self):
        after = self.state()
        for name, tensor in self.before.pop("tensors").items():
            assert torch.equal(after["tensors"][name], tensor), name
        after.pop("tensors")
        assert after == self.before
        # what hooks change must be known, so the model itself runs: logits twice, and a gradient;
        # what they decide by is known from two recordings
        assert all(self.fired.count(place) <= 5 for place in ("before", "inner", "after"))


@pytest.mark.parametrize("training", [True, False])
def test_the_users_model_is_left_alone(training):
    model = build([("post", 6, 1), ("pre", 8, 2), ("convnext", 0, 1)]).train(training)
    untouched = Untouched(model)
    images, _ = images_for(model, 4)
    kept = images.clone()
    net = decompose(model, images)
    net(images)
    with torch.no_grad():
        for weight in net.parameters():
            weight.zero_()
    untouched.check()
    assert torch.equal(images, kept)
    assert not net.training and not any(module.training for module in net.modules())
    assert not any(weight.requires_grad for weight in net.parameters())


def test_the_users_model_is_left_alone_after_an_error(monkeypatch):
    model = build([("post", 6, 1), ("post", 8, 2)]).train()
    images, _ = images_for(model, 2)
    state = torch.get_rng_state()
    for place in ("with_hooks", "simplify", "verify", "_assemble", "Original.alone"):
        untouched = Untouched(model)
        with monkeypatch.context() as patch:
            patch.setattr(f"ensembles.decomposition.assembly.{place}", lambda *_, **__: 1 / 0)
            with pytest.raises(ZeroDivisionError):
                decompose(model, images)
        untouched.check()
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.is_grad_enabled()
