"""The recursions against every path by itself, on small networks of every kind."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from ensembles.decomposition import Decomposition, decompose
from ensembles.numerics import differentiable
from ensembles.unravelling.linearization import Linearizer
from ensembles.unravelling.oracle import path_gradients, path_logits
from ensembles.unravelling.spectra import backward, forward, head_cotangent

TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-10}


class Residual(nn.Module):
    def __init__(self, branch: nn.Module, shortcut: nn.Module | None = None,
                 pre: nn.Module | None = None, post: nn.Module | None = None) -> None:  # fmt: skip
        super().__init__()
        self.branch, self.shortcut = branch, shortcut or nn.Identity()
        self.pre, self.post = pre or nn.Identity(), post or nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        x = self.pre(x)
        return self.post(self.branch(x) + self.shortcut(x))


class Dense(nn.Module):
    def __init__(self, channels: int, growth: int) -> None:
        super().__init__()
        self.norm, self.conv = nn.BatchNorm2d(channels), nn.Conv2d(channels, growth, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x, self.conv(torch.relu(self.norm(x)))], 1)


class ChannelsLast(nn.Module):
    """LayerNorm, a wide MLP and layer scale over channels, as in ConvNeXt."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels)
        self.wide, self.narrow = nn.Linear(channels, 8), nn.Linear(8, channels)
        self.scale = nn.Parameter(torch.rand(channels) + 0.5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(x.permute(0, 2, 3, 1))
        x = self.scale * self.narrow(nn.functional.gelu(self.wide(x)))
        return x.permute(0, 3, 1, 2)


class Excitation(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.pool, self.conv = nn.AdaptiveAvgPool2d(1), nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.sigmoid(self.conv(self.pool(x)))


class Attention(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm, self.qkv = nn.LayerNorm(width), nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(self.norm(x)).chunk(3, -1)
        return self.out(nn.functional.scaled_dot_product_attention(q, k, v))


class Multihead(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(width, 2, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.attention(x, x, x, need_weights=False)[0]


class MixTokens(nn.Module):
    def __init__(self, tokens: int, width: int) -> None:
        super().__init__()
        self.norm, self.mix = nn.LayerNorm(width), nn.Sequential(
            nn.Linear(tokens, 5), nn.GELU(), nn.Linear(5, tokens)
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        return self.mix(self.norm(x).transpose(1, 2)).transpose(1, 2)


class Tokens(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(2).transpose(1, 2)


class Mean(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.mean(1)


def norm(c: int) -> nn.Module:
    return nn.BatchNorm2d(c)


def conv(a: int, b: int, k: int = 3, stride: int = 1, groups: int = 1) -> nn.Module:
    return nn.Conv2d(a, b, k, stride, k // 2, groups=groups, bias=False)


def post_activation() -> nn.Module:
    def block(a: int, b: int, stride: int = 1) -> nn.Module:
        same = a == b and stride == 1
        return Residual(
            nn.Sequential(conv(a, b, 3, stride), norm(b), nn.ReLU(), conv(b, b), norm(b)),
            None if same else nn.Sequential(conv(a, b, 1, stride), norm(b)),
            post=nn.ReLU(),
        )

    stem = nn.Sequential(conv(3, 4), norm(4), nn.ReLU(), nn.MaxPool2d(3, 2, 1))
    return nn.Sequential(
        stem, block(4, 4), block(4, 6, 2), block(6, 6), block(6, 6), pooled(6)
    )  # fmt: skip


def bottleneck() -> nn.Module:
    def block(a: int, b: int, stride: int = 1) -> nn.Module:
        return Residual(
            nn.Sequential(conv(a, 4, 1), norm(4), nn.ReLU(), conv(4, 4, 3, stride, groups=2),
                          norm(4), nn.ReLU(), conv(4, b, 1), norm(b)),
            None if a == b else nn.Sequential(conv(a, b, 1, stride), norm(b)),
            post=nn.ReLU(inplace=True),
        )  # fmt: skip

    return nn.Sequential(conv(3, 4), block(4, 8), block(8, 8), block(8, 8, 1), pooled(8))


def pre_activation() -> nn.Module:
    def block(c: int) -> nn.Module:
        return Residual(
            nn.Sequential(norm(c), nn.ReLU(), conv(c, c), norm(c), nn.ReLU(), conv(c, c))
        )

    first = Residual(
        nn.Sequential(conv(4, 6, 3, 2), norm(6), nn.ReLU(), conv(6, 6)), conv(4, 6, 1, 2),
        pre=nn.Sequential(norm(4), nn.ReLU()),
    )  # fmt: skip
    head = nn.Sequential(norm(6), nn.ReLU(), pooled(6))
    return nn.Sequential(conv(3, 4), block(4), first, block(6), block(6), head)


def dense() -> nn.Module:
    between = nn.Sequential(norm(8), nn.ReLU(), conv(8, 4, 1), nn.AvgPool2d(2))
    return nn.Sequential(
        conv(3, 4), Dense(4, 2), Dense(6, 2), between, Dense(4, 3), Dense(7, 1), pooled(8)
    )


def convnext() -> nn.Module:
    def block(c: int) -> nn.Module:
        return Residual(nn.Sequential(nn.Conv2d(c, c, 3, padding=1, groups=c), ChannelsLast(c)))

    down = nn.Conv2d(4, 6, 2, 2)
    return nn.Sequential(conv(3, 4, 3, 2), block(4), block(4), down, block(6), block(6), pooled(6))


def excitation() -> nn.Module:
    def block(c: int) -> nn.Module:
        return Residual(
            nn.Sequential(conv(c, c), norm(c), nn.SiLU(), Excitation(c), conv(c, c, 1), norm(c))
        )

    return nn.Sequential(conv(3, 4), block(4), block(4), block(4), pooled(4))


def attention() -> nn.Module:
    def mlp() -> nn.Module:
        return Residual(nn.Sequential(nn.LayerNorm(6), nn.Linear(6, 8), nn.GELU(), nn.Linear(8, 6)))

    stem = nn.Sequential(nn.Conv2d(3, 6, 4, 4), Tokens())
    return nn.Sequential(
        stem, Residual(Attention(6)), mlp(), Residual(Multihead(6)), mlp(),
        nn.LayerNorm(6), Mean(), nn.Linear(6, 5),
    )  # fmt: skip


def mixer() -> nn.Module:
    def channels() -> nn.Module:
        return Residual(nn.Sequential(nn.LayerNorm(6), nn.Linear(6, 8), nn.GELU(), nn.Linear(8, 6)))

    stem = nn.Sequential(nn.Conv2d(3, 6, 4, 4), Tokens())
    return nn.Sequential(
        stem, Residual(MixTokens(4, 6)), channels(), Residual(MixTokens(4, 6)), channels(),
        nn.LayerNorm(6), Mean(), nn.Linear(6, 5),
    )  # fmt: skip


def pooled(c: int) -> nn.Module:
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(c, 5))


KINDS: dict[str, Callable[[], nn.Module]] = {
    "post_activation": post_activation,
    "pre_activation": pre_activation,
    "bottleneck": bottleneck,
    "dense": dense,
    "convnext": convnext,
    "excitation": excitation,
    "attention": attention,
    "mixer": mixer,
}
FAST = {"post_activation", "pre_activation", "bottleneck", "dense", "excitation"}


def network(kind: str, seed: int, dtype: torch.dtype) -> tuple[Decomposition, Tensor, Tensor]:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = KINDS[kind]()
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.running_mean.normal_(0, 0.3)
                module.running_var.uniform_(0.5, 2)
                module.weight.data.uniform_(0.5, 1.5)
                module.bias.data.normal_(0, 0.3)
        images = torch.randn(3, 3, 8, 8)
    net = decompose(model.eval(), images)
    if dtype == torch.float64:
        net = copy.deepcopy(net).double()
    return net, images.to(dtype), torch.tensor([0, 4, 2])


def relative(found: Tensor, expected: Tensor) -> float:
    gap = (found - expected).flatten(2).norm(dim=2)
    return float((gap / expected.flatten(2).norm(dim=2).clamp_min(1e-300)).max())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["fp32", "fp64"])
@pytest.mark.parametrize("engine", ["fast", "general"])
@pytest.mark.parametrize("kind", KINDS)
def test_every_length_is_the_sum_of_its_paths(kind: str, engine: str, dtype: torch.dtype) -> None:
    net, images, labels = network(kind, 1, dtype)
    with differentiable():
        linearizer = Linearizer(net, engine)
        linear = linearizer.at(images)
        cotangent, _ = head_cotangent(linear.logits, labels)
        with torch.no_grad():
            state = list(backward(linear, cotangent))[-1][1]
            found = forward(linear)
        each = path_gradients(net, images, cotangent)
        logits, constant = path_logits(net, images)
    assert (linearizer.coverage == 1) == (engine == "fast" and kind in FAST)
    scale = torch.exp2(state.exponent[: state.count])
    gradients = state.data[: state.count].double() * scale[..., None, None, None]
    expected = torch.zeros_like(gradients)
    for choice, gradient in each.items():
        expected[sum(choice)] += gradient
    assert relative(gradients, expected) < TOLERANCE[dtype]
    assert relative(found.parts, logits.double()) < TOLERANCE[dtype]
    assert float((found.constant - constant).abs().max()) < TOLERANCE[dtype]
    whole = found.parts.sum(0) + found.constant
    assert float((whole - net(images)).abs().max()) < 10 * TOLERANCE[dtype]


REPEATED: dict[str, tuple[int, ...]] = {
    "post_activation": (3, 4),
    "pre_activation": (3, 4),
    "bottleneck": (2, 3),
    "convnext": (4, 5),
    "excitation": (1, 2, 3),
    "attention": (1, 2, 3, 4),
    "mixer": (1, 2, 3, 4),
}
"""The parts of each network that can follow one another."""


def ten_blocks(kind: str) -> nn.Module:
    """A network of 10 blocks of a kind, trained for some steps on random images."""
    if kind == "dense":
        model = nn.Sequential(conv(3, 4), *[Dense(4 + i, 1) for i in range(10)], pooled(14))
    else:
        parts, places = list(KINDS[kind]()), REPEATED[kind]
        missing = 10 - sum(isinstance(part, Residual) for part in parts)
        more = [copy.deepcopy(parts[places[i % len(places)]]) for i in range(missing)]
        for module in (m for part in more for m in part.modules()):
            if isinstance(module, (nn.Conv2d, nn.Linear)):
                module.reset_parameters()
        last = places[-1] + 1
        model = nn.Sequential(*parts[:last], *more, *parts[last:])
    optimizer = torch.optim.Adam(model.parameters(), 0.01)
    images, labels = torch.randn(20, 3, 8, 8), torch.arange(20) % 5
    for _ in range(40):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model.train()(images), labels).backward()
        optimizer.step()
    return model.eval()


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_trained_networks_of_ten_blocks(kind: str) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(7)
        model = ten_blocks(kind)
        images = torch.randn(2, 3, 8, 8)
    net, labels = decompose(model, images), torch.tensor([0, 4])
    assert len(net) == 10
    wide, many = copy.deepcopy(net).double(), images.double()
    with differentiable():
        cotangent, _ = head_cotangent(wide(many), labels)
        each = path_gradients(wide, many, cotangent)
        logits, _ = path_logits(wide, many)
        assert len(each) == 2**10
        expected = torch.zeros(11, *many.shape, dtype=torch.float64)
        for choice, gradient in each.items():
            expected[sum(choice)] += gradient
        for one, x in ((net, images), (wide, many)):
            linear = Linearizer(one).at(x)
            with torch.no_grad():
                state = list(backward(linear, cotangent.to(x.dtype)))[-1][1]
                found = forward(linear)
            scale = torch.exp2(state.exponent[: state.count])[..., None, None, None]
            gradients = state.data[: state.count].double() * scale
            assert relative(gradients, expected) < TOLERANCE[x.dtype]
            assert relative(found.parts, logits) < TOLERANCE[x.dtype]


@pytest.mark.parametrize("seed", range(2, 6))
def test_random_networks_in_double_precision(seed: int) -> None:
    kind = list(KINDS)[seed % len(FAST)]
    net, images, labels = network(kind, seed, torch.float64)
    linear = Linearizer(net).at(images)
    cotangent, _ = head_cotangent(linear.logits, labels)
    with torch.no_grad():
        state = list(backward(linear, cotangent))[-1][1]
    scale = torch.exp2(state.exponent[: state.count])
    gradients = state.data[: state.count] * scale[..., None, None, None]
    expected = torch.zeros_like(gradients)
    for choice, gradient in path_gradients(net, images, cotangent).items():
        expected[sum(choice)] += gradient
    assert relative(gradients, expected) < 1e-10
