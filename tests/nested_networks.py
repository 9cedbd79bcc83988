"""Small networks whose blocks lie beside or inside each other, with sums to cut by hand."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


class Sum(nn.Module):
    """A branch around which its input goes; without the branch where `cut` is set."""

    def __init__(self, branch: nn.Module, post: nn.Module | None = None) -> None:
        super().__init__()
        self.branch, self.post, self.cut = branch, post, False

    def forward(self, x: Tensor, *beside: Any) -> Tensor:
        x = x if self.cut else x + self.branch(x, *beside)
        return x if self.post is None else self.post(x)


def conv(width: int, size: int = 3, out: int = 0) -> nn.Module:
    return nn.Conv2d(width, out or width, size, padding=size // 2)


def layers(width: int) -> nn.Module:
    return nn.Sequential(conv(width), nn.BatchNorm2d(width), nn.ReLU(), conv(width))


class Network(nn.Module):
    """What all have: images of 8 x 8 and three classes, or tokens."""

    example: Any = torch.linspace(-1, 1, 3 * 3 * 64).sin().view(3, 3, 8, 8)
    count = 0

    def sums(self) -> dict[str, Sum]:
        return {name: part for name, part in self.named_modules() if isinstance(part, Sum)}


class CrossStage(Network):
    """Half of the channels goes past two blocks, as in CSPNet (Wang et al. 2020)."""

    count = 4

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.join, self.head = conv(3, out=8), conv(8, 1), nn.Linear(8, 3)
        self.first = nn.Sequential(*(Sum(layers(4), nn.ReLU()) for _ in range(2)))
        self.second = nn.Sequential(*(Sum(layers(4)) for _ in range(2)))

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        a, b = x.chunk(2, 1)
        x = self.join(torch.cat([a, self.first(b)], 1))
        a, b = x.chunk(2, 1)
        x = self.join(torch.cat([a, self.second(b)], 1))
        return self.head(x.mean((2, 3)))


class Resolutions(Network):
    """Two resolutions that are fused by sums, none of which is a block, as in HRNet."""

    count = 6

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.down, self.up = conv(3, out=4), conv(4), conv(4, 1)
        self.high = nn.Sequential(*(Sum(layers(4), nn.ReLU()) for _ in range(3)))
        self.low = nn.Sequential(*(Sum(layers(4), nn.ReLU()) for _ in range(3)))
        self.head = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        high, low = self.high[:2](x), self.low[:2](self.down(x)[..., ::2, ::2])
        grown = nn.functional.interpolate(self.up(low), scale_factor=2.0)
        high, low = (high + grown).relu(), (low + self.down(high)[..., ::2, ::2]).relu()
        high, low = self.high[2:](high), self.low[2:](low)
        return self.head(torch.cat([high.mean((2, 3)), low.mean((2, 3))], 1))


class LongSkip(Network):
    """One sum around all the others."""

    count = 7

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.head = conv(3, out=4), nn.Linear(4, 3)
        self.body = Sum(nn.Sequential(*(Sum(layers(4)) for _ in range(6)), conv(4)))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(self.stem(x)).mean((2, 3)))


class Level(Sum):
    """A stage of blocks with a projection around it."""

    def __init__(self, branch: nn.Module, way: nn.Module) -> None:
        super().__init__(branch)
        self.way = way

    def forward(self, x: Tensor, *beside: Any) -> Tensor:
        return self.way(x) if self.cut else self.branch(x) + self.way(x)


class Levels(Network):
    """Shortcuts around blocks and around their stages, as in RoR (Zhang et al. 2016)."""

    count = 7

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.head = conv(3, out=4), nn.Linear(4, 3)
        self.body = Level(nn.Sequential(self.stage(), self.stage()), conv(4, 1))

    def stage(self) -> Level:
        blocks = Sum(layers(4), nn.ReLU()), Sum(layers(4), nn.ReLU())
        return Level(nn.Sequential(*blocks), conv(4, 1))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(self.stem(x)).mean((2, 3)))


class Hourglass(Network):
    """Two streams of blocks that begin at one tensor and are added, as in Wang et al. (2017).

    The sum of one is read once more behind the addition, in which no stream is a way around.
    """

    count = 4

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.down, self.head = conv(3, out=4), conv(4), nn.Linear(4, 3)
        self.trunk = nn.Sequential(Sum(layers(4)), Sum(layers(4)))
        self.mask = nn.Sequential(Sum(layers(4)), Sum(layers(4)))

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        trunk = self.trunk(x)
        mask = self.mask(self.down(nn.functional.max_pool2d(x, 2)))
        mask = nn.functional.interpolate(mask, scale_factor=2.0, mode="bilinear") + trunk
        return self.head(((1 + mask.sigmoid()) * trunk).mean((2, 3)))


class Attention(nn.Module):
    """One head, with a mask that is added to its scores, and with other tokens to look at."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm, self.out = nn.LayerNorm(width), nn.Linear(width, width)
        self.q, self.k, self.v = (nn.Linear(width, width) for _ in range(3))

    def forward(self, x: Tensor, mask: Tensor | None = None, seen: Tensor | None = None) -> Tensor:
        x = self.norm(x)
        seen = x if seen is None else seen
        scores = self.q(x) @ self.k(seen).transpose(1, 2) / 2
        scores = scores if mask is None else scores + mask
        return self.out(scores.softmax(-1) @ self.v(seen))


def mlp(width: int) -> nn.Module:
    return nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width), nn.GELU())


class Masked(Network):
    """Tokens with a mask that every layer reads."""

    count = 6

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.head = nn.Embedding(11, 6), nn.Linear(6, 3)
        self.layers = nn.ModuleList(Sum(part) for _ in range(3) for part in (Attention(6), mlp(6)))
        ids = torch.arange(15).view(3, 5) % 11
        self.example: Any = {"ids": ids, "mask": (ids % 4 > 0).long()}

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        closed = (1.0 - mask[:, None, :].float()) * -1e4
        x = self.embed(ids)
        for place, layer in enumerate(self.layers):
            x = layer(x) if place % 2 else layer(x, closed)
        return self.head(x[torch.arange(len(x)), mask.sum(1) - 1])


class OneInput(Masked):
    """The mask is made of the ids."""

    def __init__(self) -> None:
        super().__init__()
        self.example = self.example["ids"]

    def forward(self, ids: Tensor) -> Tensor:  # type: ignore[override]
        return super().forward(ids, ids.ne(0).long())


class CrossAttention(Network):
    """An encoder whose end every layer of the decoder looks at, as in T5 (Raffel et al. 2020)."""

    count = 7

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.head = nn.Embedding(11, 6), nn.Linear(6, 3)
        self.encoder = nn.ModuleList([Sum(Attention(6)), Sum(mlp(6))])
        self.decoder = nn.ModuleList(
            Sum(part) for part in (Attention(6), Attention(6), mlp(6), Attention(6), mlp(6))
        )
        self.example: Any = (torch.arange(15).view(3, 5) % 11, torch.arange(12).view(3, 4) % 7)

    def forward(self, source: Tensor, target: Tensor) -> Tensor:
        seen, x = self.embed(source), self.embed(target)
        for layer in self.encoder:
            seen = layer(seen)
        for place, layer in enumerate(self.decoder):
            x = layer(x, None, seen) if place in (1, 3) else layer(x)
        return self.head(x.mean(1))


class ClassAttention(Network):
    """A class token that joins late and looks at all others, as in CaiT (Touvron et al. 2021)."""

    count = 8

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.head, self.token = (
            conv(3, 1, 6),
            nn.Linear(6, 3),
            nn.Parameter(torch.ones(6)),
        )
        self.body = nn.Sequential(*(Sum(part) for _ in range(2) for part in (Attention(6), mlp(6))))
        self.late = nn.ModuleList(Sum(part) for _ in range(2) for part in (Attention(6), mlp(6)))

    def forward(self, x: Tensor) -> Tensor:
        x = self.body(self.stem(x)[..., ::2, ::2].flatten(2).transpose(1, 2))
        token = self.token.expand(len(x), 1, 6)
        for place, layer in enumerate(self.late):
            token = layer(token) if place % 2 else layer(token, None, torch.cat([token, x], 1))
        return self.head(token[:, 0])


class Reversible(Network):
    """Two streams that add to each other in turn (Gomez et al. 2017)."""

    count = 6

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.head = conv(3, out=8), nn.Linear(8, 3)
        self.branches = nn.ModuleList(Sum(layers(4)) for _ in range(6))

    def forward(self, x: Tensor) -> Tensor:
        a, b = self.stem(x).chunk(2, 1)
        for one, other in zip(self.branches[::2], self.branches[1::2], strict=True):
            a = a if one.cut else a + one.branch(b)  # type: ignore[operator]
            b = b if other.cut else b + other.branch(a)  # type: ignore[operator]
        return self.head(torch.cat([a, b], 1).mean((2, 3)))


class Dense(Network):
    """Each branch reads the sum of all that came before it, its own input's sum among them."""

    count = 3

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.head = conv(3, out=4), nn.Linear(4, 3)
        self.blocks = nn.ModuleList(Sum(layers(4)) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        states = [self.stem(x)]
        for block in self.blocks:
            branch: Any = block.branch
            states.append(states[-1] if block.cut else states[-1] + branch(sum(states)))
        return self.head(states[-1].mean((2, 3)))


class Reminded(Network):
    """Every branch reads the images themselves beside its input."""

    count = 3

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.head = conv(3, out=4), nn.Linear(4, 3)
        self.blocks = nn.ModuleList(Sum(Gate()) for _ in range(3))

    def forward(self, images: Tensor) -> Tensor:
        x = self.stem(images)
        for block in self.blocks:
            x = block(x, images)
        return self.head(x.mean((2, 3)))


class Gate(nn.Module):
    """A branch with a gate that is made of other values."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.gate = layers(4), conv(3, 1, 4)

    def forward(self, x: Tensor, other: Tensor) -> Tensor:
        return self.body(x) * self.gate(other).sigmoid()


class Pooled(Network):
    """The head reads all states, each with a weight that is learned: one more sum around all."""

    count = 4

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.head = conv(3, out=4), nn.Linear(4, 3)
        self.blocks = nn.ModuleList(Sum(layers(4)) for _ in range(3))
        self.mix = nn.Parameter(torch.tensor([0.5, 1.0, -0.25, 2.0]))

    def forward(self, x: Tensor) -> Tensor:
        states = [self.stem(x)]
        for block in self.blocks:
            states.append(block(states[-1]))
        return self.head((torch.stack(states) * self.mix.view(4, 1, 1, 1, 1)).sum(0).mean((2, 3)))


class Supervised(Network):
    """The mean of what the head makes of each state."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.head = conv(3, out=4), nn.Linear(4, 3)
        self.blocks = nn.ModuleList(Sum(layers(4)) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        x, total = self.stem(x), torch.zeros(())
        for block in self.blocks:
            x = block(x)
            total = total + self.head(x.mean((2, 3)))
        return total / 3


class SpaceTime(Network):
    """Attention over time spares the class token, as in TimeSformer (Bertasius et al. 2021)."""

    count = 6

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.head, self.token = (
            conv(3, 1, 6),
            nn.Linear(6, 3),
            nn.Parameter(torch.ones(6)),
        )
        self.time, self.space = (
            nn.ModuleList(Sum(Attention(6)) for _ in range(2)) for _ in range(2)
        )
        self.mlps = nn.ModuleList(Sum(mlp(6)) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)[..., ::2, ::4].flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(len(x), 1, 6), x], 1)
        for time, space, last in zip(self.time, self.space, self.mlps, strict=True):
            token, places = x[:, :1], x[:, 1:].reshape(-1, 2, 6)
            moved = 0.0 if time.cut else time.branch(places).reshape(-1, 8, 6)
            rest = x[:, 1:] + moved
            added = 0.0 if space.cut else self.over_space(space.branch, token, rest)
            x = last(torch.cat([token, rest], 1) + added)
        return self.head(x.mean(1))

    def over_space(self, attention: Any, token: Tensor, rest: Tensor) -> Tensor:
        frames = rest.reshape(-1, 4, 2, 6).transpose(1, 2).reshape(-1, 4, 6)
        tokens = token.repeat(1, 2, 1).reshape(-1, 1, 6)
        seen = attention(torch.cat([tokens, frames], 1)).reshape(-1, 2, 5, 6)
        places = seen[:, :, 1:].transpose(1, 2).reshape(-1, 8, 6)
        return torch.cat([seen[:, :, 0].mean(1, True), places], 1)


class Patches(Network):
    """Patches as rows of their own beside the whole image, as in MobileViT (Mehta et al. 2022)."""

    count = 4

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.join, self.head = conv(3, out=4), conv(8, 1, 4), nn.Linear(4, 3)
        self.first, self.last = Sum(layers(4)), Sum(layers(4))
        self.tokens = nn.Sequential(Sum(Attention(4)), Sum(mlp(4)))

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(self.stem(x)[..., ::2, ::2])
        rows = x.reshape(-1, 4, 2, 2, 2, 2).permute(2, 4, 0, 3, 5, 1).reshape(-1, 4, 4)
        rows = self.tokens(rows).reshape(2, 2, len(x), 2, 2, 4)
        seen = rows.permute(2, 5, 0, 3, 1, 4).reshape(-1, 4, 4, 4)
        return self.head(self.last(self.join(torch.cat([seen, x], 1))).mean((2, 3)))


NESTED = (
    CrossStage, Resolutions, LongSkip, Levels, Hourglass, Masked, OneInput, CrossAttention,
    ClassAttention, Reversible, Dense, Reminded, SpaceTime, Patches,
)  # fmt: skip


def made(kind: type[Network]) -> Network:
    """A network with weights of its own, and statistics that do something."""
    with torch.random.fork_rng():
        torch.manual_seed(3)
        model = kind()
        for norm in model.modules():
            if isinstance(norm, nn.BatchNorm2d):
                norm.running_mean = torch.randn(norm.num_features) / 4
                norm.running_var = torch.rand(norm.num_features) + 0.5
    return model.eval()
