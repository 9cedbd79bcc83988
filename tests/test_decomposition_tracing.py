"""What makes graphs hard to read: updates in place, sizes, shared weights, other layouts."""

from __future__ import annotations

import copy
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from networks import CLASSES, build, conv, images_for, norm
from torch import nn
from torch.nn.utils import parametrizations, prune

from ensembles.decomposition import decompose
from ensembles.errors import DecompositionError


def random_images(count=4, shape=(3, 8, 8), seed=0):
    return torch.randn(count, *shape, generator=torch.Generator().manual_seed(seed))


def seeded(make, *args):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return make(*args).eval()


class Base(nn.Module):
    """Three convolutions and a classifier; the subclass connects them."""

    def __init__(self):
        super().__init__()
        self.stem, self.a, self.b = conv(3, 4), conv(4, 4), conv(4, 4)
        self.norm, self.relu = norm(4), nn.ReLU(inplace=True)
        self.head = nn.Linear(4, CLASSES)

    def forward(self, x):
        return self.head(self.body(self.stem(x)).mean((2, 3)))


class RootForward(Base):
    """Two residual blocks written out in the model's own forward."""

    def body(self, x):
        x = x + F.relu(self.norm(self.a(x)))
        y = F.conv2d(x, self.b.weight, padding=1)
        return torch.add(x, torch.sigmoid(y))


class InPlaceChain(Base):
    """Every form of update in place."""

    def body(self, x):
        y = self.norm(self.a(x))
        y += 1
        y.mul_(0.5)
        y -= x
        y = self.relu(y)
        x += y
        z = F.relu(self.b(x), inplace=True)
        z = F.leaky_relu(z, 0.1, True)
        torch.relu_(z)
        z.clamp_(max=3)
        z /= 2
        return z.add_(x)


class AliasReadLater(Base):
    """A view of a tensor that is overwritten afterwards sees the new value."""

    def body(self, x):
        y = self.a(x)
        view = y.view(y.shape[0], -1)
        same = y
        y.relu_()
        return x + self.b((view.view_as(x) + same) / 2)


class OldValueNeeded(Base):
    """The shortcut is the tensor that the first ReLU of the branch overwrites."""

    def body(self, x):
        identity = x
        y = self.a(self.relu(x))
        y += identity
        return y + self.b(y)


class ViewOverwritten(Base):
    """A slice is overwritten and the whole is read: needs torch.export."""

    def body(self, x):
        y = self.a(x)
        y[:, :2].mul_(2.0)
        return x + self.b(y)


class PartAssigned(Base):
    """Channels are assigned and updated through an index."""

    def body(self, x):
        y = self.a(x)
        y[:, :2] += x[:, :2]
        y[:, 3] = 0.5
        return x + self.b(y)


class SizeArithmetic(nn.Module):
    """A class token and positions for whatever size comes, windows, and a flat view."""

    def __init__(self):
        super().__init__()
        self.patch = nn.Conv2d(3, 4, 2, 2)
        self.token = nn.Parameter(torch.randn(1, 1, 4))
        self.position = nn.Parameter(torch.randn(1, 4, 2, 2))
        self.mix, self.norm, self.head = (
            nn.Linear(4, 4),
            nn.LayerNorm(4),
            nn.Linear(17 * 4, CLASSES),
        )

    def forward(self, x):
        x = self.patch(x)
        n, c, h, w = x.shape
        if h != self.position.shape[-1]:
            x = x + F.interpolate(self.position, size=(h, w), mode="bilinear")
        windows = x.reshape(n, c, h // 2, 2, w // 2, 2).permute(0, 2, 4, 3, 5, 1)
        windows = windows.reshape(-1, 4, c)
        mixed = windows + self.mix(windows)
        x = mixed.reshape(n, h * w, c)
        x = torch.cat((self.token.expand(n, -1, -1), x), dim=1)
        ramp = torch.arange(n * h, device=x.device).view(n, h)[:, :1].clamp(0, 1).unsqueeze(1)
        x = x + self.mix(self.norm(x)) / math.sqrt(c) + 0 * ramp
        return self.head(x.view(x.size(0), -1))


class ShapeDependent(nn.Module):
    """Control flow on shapes, loops over unbound tensors, numbers from numpy, asserts."""

    def __init__(self):
        super().__init__()
        self.stem, self.small, self.large = conv(3, 4), conv(4, 4), conv(4, 4)
        self.layers = nn.ModuleDict({"a": conv(4, 4), "b": conv(4, 4)})
        self.head = nn.Linear(4, CLASSES)

    def forward(self, x):
        x = self.stem(x)
        assert x.ndim == 4 and x.dtype.is_floating_point
        torch._assert(x.shape[-1] > 2, "too small")
        layer = self.large if x.shape[-1] > 6 else self.small
        x = x + layer(x)
        for name in sorted(self.layers):
            x = x + self.layers[name](x) * np.float32(0.5)
        one, *rest = x.unbind(dim=2)
        pooled = one + sum(rest)
        scale = torch.from_numpy(np.ones(4, dtype=np.float32)).view(1, 4, 1)
        return self.head((pooled * scale).mean(-1))


class DeadHead(Base):
    """An auxiliary classifier runs and is thrown away."""

    def __init__(self):
        super().__init__()
        self.auxiliary = nn.Linear(4, CLASSES)

    def body(self, x):
        x = x + self.a(x)
        self.last = self.auxiliary(x.mean((2, 3)))
        return x + self.b(F.relu(x))


class SharedBlock(Base):
    """The same convolution and norm in three blocks."""

    def body(self, x):
        for _ in range(3):
            x = x + self.norm(self.a(self.relu(x + 0)))
        return x


MODELS = {
    RootForward: 2, InPlaceChain: 2, AliasReadLater: 1, OldValueNeeded: 2, ViewOverwritten: 1,
    PartAssigned: 1, SizeArithmetic: 2, ShapeDependent: 3, DeadHead: 2, SharedBlock: 3,
}  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "blocks"), MODELS.items(), ids=lambda kind: getattr(kind, "__name__", "")
)
def test_a_model_that_is_hard_to_read(kind, blocks):
    model = seeded(kind)
    images = random_images(7)
    net = decompose(model, images[:3])
    assert [block.kind for block in net] == ["residual"] * blocks
    with torch.no_grad():
        for count in (1, 2, 7):
            expected = model(images[:count].clone())
            torch.testing.assert_close(net(images[:count]), expected, rtol=1e-4, atol=1e-5)
    twin = copy.deepcopy(net)
    assert torch.equal(twin(images), net(images))


def test_dead_parts_are_in_no_block():
    net = decompose(seeded(DeadHead), random_images())
    assert not any(
        "auxiliary" in name for part in net.children() for name, _ in part.named_modules()
    )


def test_names_of_blocks_that_share_a_module():
    net = decompose(seeded(SharedBlock), random_images())
    assert len(set(net.names)) == 3
    assert all("#" in name for name in net.names)


def test_only_a_sequence():
    model = seeded(
        lambda: nn.Sequential(
            nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(True), nn.Dropout(0.5),
            nn.Conv2d(4, 4, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
            nn.Linear(64, 8), nn.Tanh(), nn.Linear(8, CLASSES),
        )
    )  # fmt: skip
    images = random_images()
    net = decompose(model, images)
    assert net.names == ("0", "4", "8", "10")
    assert [block.kind for block in net] == ["plain"] * 4
    torch.testing.assert_close(net(images), model(images))


class FourFold(nn.Module):
    """Two images' worth of windows are looked at one by one: another graph for each batch size."""

    def __init__(self):
        super().__init__()
        self.a, self.head = nn.Linear(4, 4), nn.Linear(4, CLASSES)

    def forward(self, x):
        rows = [row + self.a(row) for row in x]
        return self.head(torch.stack(rows))


def test_another_graph_for_each_batch_size_is_said():
    with pytest.raises(
        DecompositionError, match=r"FourFold does other operations for three images than"
    ):
        decompose(seeded(FourFold), random_images(4, (4,)))


class ScriptedPart(Base):
    """A function that TorchScript has compiled hides what it does; exporting sees it."""

    def __init__(self):
        super().__init__()
        self.gate = torch.jit.script(_gate)

    def body(self, x):
        return x + self.b(self.gate(self.a(x)))

    def __deepcopy__(self, memo):
        twin = ScriptedPart()
        twin.load_state_dict(self.state_dict())
        return twin


def _gate(x: torch.Tensor) -> torch.Tensor:
    return x * torch.sigmoid(x)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
class Pushed(Base):
    """A derivative forward, which neither a recording nor an export can follow."""

    def body(self, x):
        return x + torch.func.jvp(self.a, (x,), (torch.ones_like(x),))[1]


@pytest.mark.filterwarnings("ignore")
def test_what_a_failed_export_leaves_open_is_closed():
    for _ in range(2):
        with pytest.raises(DecompositionError, match="Pushed cannot be traced"):
            decompose(seeded(Pushed), random_images())
    torch.zeros(2).requires_grad_()
    assert torch.func.jvp(torch.sin, (torch.zeros(1),), (torch.ones(1),))[1] == 1


def test_a_compiled_function_within():
    model = seeded(ScriptedPart)
    images = random_images()
    try:
        net = decompose(model, images)
    except DecompositionError as error:  # exporters before torch 2.9 may take it for a constant
        assert "ScriptedPart cannot be traced: a tensor is made by an operation" in str(error)
        assert tuple(map(int, torch.__version__.split(".")[:2])) < (2, 9)
        return
    assert [block.kind for block in net] == ["residual"]
    torch.testing.assert_close(net(images), model(images))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_compiled_module_within():
    model = build([("post", 6, 1), ("plain", 6, 1), ("post", 6, 1)])
    model.blocks[1] = torch.jit.trace(model.blocks[1], torch.zeros(1, 6, 8, 8))
    images, _ = images_for(model, 3)
    net = decompose(model, images)
    assert [block.kind for block in net] == ["residual"] * 2
    torch.testing.assert_close(net(images), model(images))


@pytest.mark.parametrize("plan", [[("post", 6, 1), ("pre", 8, 2)], [("attention", 0, 1)]])
def test_double_precision(plan):
    model = build(plan).double()
    images = images_for(model, 4)[0].double()
    net = decompose(model, images)
    assert net(images).dtype == torch.float64
    torch.testing.assert_close(net(images), model(images), rtol=1e-12, atol=1e-12)


def test_half_precision():
    model = build([("post", 6, 1), ("three", 0, 1), ("post", 8, 2)]).bfloat16()
    images = images_for(model, 4)[0].bfloat16()
    net = decompose(model, images)
    assert net(images).dtype == torch.bfloat16
    torch.testing.assert_close(net(images), model(images), rtol=0.05, atol=0.05)


def test_channels_last():
    plan = [("post", 6, 1), ("shuffle", 0, 1), ("convnext", 0, 1), ("pre", 8, 2), ("dense", 0, 1)]
    model = build(plan)
    images, _ = images_for(model, 4)
    net = decompose(model, images)
    last = images.to(memory_format=torch.channels_last)
    torch.testing.assert_close(net.to(memory_format=torch.channels_last)(last), model(images))
    again = decompose(model.to(memory_format=torch.channels_last), last)
    torch.testing.assert_close(again(last), model(images))


def _with_old_norms(model):
    with pytest.warns(FutureWarning):
        nn.utils.weight_norm(model.blocks[0].conv1)
    nn.utils.spectral_norm(model.blocks[1].conv1)
    return model


def _with_parametrizations(model):
    parametrizations.weight_norm(model.blocks[0].conv1)
    parametrizations.spectral_norm(model.blocks[1].conv1)
    parametrizations.orthogonal(model.classifier)
    return model


def _pruned(model):
    prune.random_unstructured(model.blocks[0].conv1, "weight", 0.5)
    prune.l1_unstructured(model.blocks[1].conv2, "weight", 3)
    return model


@pytest.mark.parametrize("change", [_with_old_norms, _with_parametrizations, _pruned])
def test_weights_that_are_computed(change):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = change(build([("post", 6, 1), ("pre", 8, 2)]))
    images, _ = images_for(model, 4)
    model.train()(images)  # spectral normalisation moves its vectors
    model.eval()
    names = list(model.state_dict())
    net = decompose(model, images)
    assert len(net) == 2
    torch.testing.assert_close(net(images), model(images), rtol=1e-4, atol=1e-5)
    assert list(model.state_dict()) == names
    assert {name.rpartition(".")[2] for name, _ in net.named_parameters()} == {"weight", "bias"}


def test_wrapped_models():
    model = build([("post", 6, 1)] * 2)
    images, _ = images_for(model, 3)
    wrapped = decompose(nn.DataParallel(model), images)
    assert wrapped.names == ("module.blocks.0", "module.blocks.1")
    compiled = decompose(torch.compile(model), images)
    assert compiled.names == ("blocks.0", "blocks.1")
    assert torch.equal(compiled(images), wrapped(images))


def test_one_image_is_example_enough():
    model = build([("post", 6, 1), ("side", 0, 1)][:1])
    images, _ = images_for(model, 4)
    net = decompose(model, images[:1])
    torch.testing.assert_close(net(images), model(images))


def test_vectors_instead_of_images():
    class Rows(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b, self.head = nn.Linear(6, 6), nn.Linear(6, 6), nn.Linear(6, CLASSES)

        def forward(self, x):
            x = x + self.a(x).relu()
            return self.head(x + self.b(x).relu())

    images = random_images(4, (6,))
    net = decompose(seeded(Rows), images)
    assert net.names == ("a", "b") and net.input_shape == (6,)


def test_within_inference_mode():
    model = build([("post", 6, 1), ("post", 8, 2)])
    images, _ = images_for(model, 4)
    with torch.inference_mode():
        net = decompose(model, images * 1)
        assert torch.equal(net(images), decompose(model, images)(images))
    assert not any(weight.is_inference() for weight in net.parameters())


class Windows(nn.Module):
    """Four windows of an image lie in the dimension of images; attention runs in each."""

    def __init__(self):
        super().__init__()
        self.patch, self.mix, self.last = conv(3, 4), nn.Linear(4, 4), nn.Linear(4, 4)
        self.head = nn.Linear(4, CLASSES)

    def forward(self, x):
        x = self.patch(x).unflatten(2, (2, 4)).unflatten(4, (2, 4))
        x = x.permute(0, 2, 4, 3, 5, 1).reshape(-1, 16, 4)
        x = x + torch.relu(self.mix(x))
        x = self.last(x).relu()
        return self.head(x.reshape(-1, 64, 4).mean(1))


def test_several_entries_for_one_image():
    model = seeded(Windows)
    images = random_images(5)
    net = decompose(model, images, kinds=["residual", "plain"])
    block = net.block(2)
    assert (block.name, block.kind) == ("mix", "residual")
    assert block.in_shape == block.out_shape == (4, 16, 4)
    assert [b.deletable for b in net] == [True] * 4
    torch.testing.assert_close(net(images), model(images))
    x = block.before(net.block(1)(net.stem(images)))
    assert torch.equal(block.deleted(x), x) and x.shape == (20, 16, 4)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_decomposition_moves_between_devices():
    model = seeded(SizeArithmetic)
    images = random_images()
    expected = model(images)
    net = decompose(model, images).cuda()
    torch.testing.assert_close(net(images.cuda()).cpu(), expected, rtol=1e-3, atol=1e-3)
    there = decompose(copy.deepcopy(model).cuda(), images.cuda())
    torch.testing.assert_close(there(images.cuda()).cpu(), expected, rtol=1e-3, atol=1e-3)
