"""Small networks of every kind of block, for tests: built by name or drawn at random.

Each block says which `kinds` are to be found in it, and with which modules the branch of each ends:
with these set to nought the module is what a deletion must compute.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from hypothesis import strategies as st
from torch import Tensor, nn

CLASSES = 5


def norm(channels: int) -> nn.BatchNorm2d:
    """BatchNorm with statistics that are not those of the identity."""
    layer = nn.BatchNorm2d(channels)
    nn.init.uniform_(layer.weight, 0.5, 1.5)
    nn.init.uniform_(layer.bias, -0.3, 0.3)
    nn.init.uniform_(layer.running_mean, -0.3, 0.3)
    nn.init.uniform_(layer.running_var, 0.5, 1.5)
    return layer


def conv(c_in: int, c_out: int, size: int = 3, stride: int = 1, groups: int = 1) -> nn.Conv2d:
    return nn.Conv2d(c_in, c_out, size, stride, size // 2, groups=groups, bias=False)


class PostActivation(nn.Module):
    """He et al. 2015, with in-place ReLU and in-place addition."""

    kinds = ("residual",)
    ends = (("bn2",),)

    def __init__(self, c_in: int, c_out: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1, self.bn1 = conv(c_in, c_out, stride=stride), norm(c_out)
        self.conv2, self.bn2 = conv(c_out, c_out), norm(c_out)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = None
        if stride != 1 or c_in != c_out:
            self.downsample = nn.Sequential(conv(c_in, c_out, 1, stride), norm(c_out))

    def forward(self, x: Tensor) -> Tensor:
        identity = x if self.downsample is None else self.downsample(x)
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        out += identity
        return self.relu(out)


class Bottleneck(nn.Module):
    """Three convolutions, the middle one narrow; written in functional style."""

    kinds = ("residual",)
    ends = (("bn3",),)

    def __init__(self, c_in: int, c_out: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1, self.bn1 = conv(c_in, 4, 1), norm(4)
        self.conv2, self.bn2 = conv(4, 4, 3, stride), norm(4)
        self.conv3, self.bn3 = conv(4, c_out, 1), norm(c_out)
        self.project = conv(c_in, c_out, 1, stride) if stride != 1 or c_in != c_out else None

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.bn1(self.conv1(x)))
        y = F.relu(self.bn2(self.conv2(y)), inplace=True)
        y = self.bn3(self.conv3(y))
        return F.relu_(y.add_(x if self.project is None else self.project(x)))


class PreActivation(nn.Module):
    """He et al. 2016; at a transition both roads begin after the first BN and ReLU."""

    kinds = ("residual",)
    ends = (("conv2",),)

    def __init__(self, c_in: int, c_out: int, stride: int = 1) -> None:
        super().__init__()
        self.bn1, self.conv1 = norm(c_in), conv(c_in, c_out, stride=stride)
        self.bn2, self.conv2 = norm(c_out), conv(c_out, c_out)
        self.project = conv(c_in, c_out, 1, stride) if stride != 1 or c_in != c_out else None

    def forward(self, x: Tensor) -> Tensor:
        a = F.relu(self.bn1(x))
        shortcut = x if self.project is None else self.project(a)
        return self.conv2(F.relu(self.bn2(self.conv1(a)))) + shortcut


class SqueezeExcitation(nn.Module):
    """An inverted bottleneck with squeeze and excitation; no shortcut where the shape changes."""

    ends = (("bn2",),)

    def __init__(self, c_in: int, c_out: int, stride: int = 1) -> None:
        super().__init__()
        self.expand, self.bn1 = conv(c_in, 2 * c_in, 1), norm(2 * c_in)
        self.depthwise = conv(2 * c_in, 2 * c_in, 3, stride, groups=2 * c_in)
        self.squeeze, self.excite = nn.Conv2d(2 * c_in, 2, 1), nn.Conv2d(2, 2 * c_in, 1)
        self.project, self.bn2 = conv(2 * c_in, c_out, 1), norm(c_out)
        self.same = stride == 1 and c_in == c_out
        self.kinds = ("residual",) if self.same else ("plain",) * 4

    def forward(self, x: Tensor) -> Tensor:
        y = F.silu(self.bn1(self.expand(x)))
        y = self.depthwise(y)
        scale = y.mean((2, 3), keepdim=True)
        y = y * torch.sigmoid(self.excite(F.silu(self.squeeze(scale))))
        y = self.bn2(self.project(y))
        return x + y if self.same else y


class DenseLayer(nn.Module):
    """One layer of a DenseNet; it adds three channels."""

    kinds = ("dense",)
    ends = (("conv",),)
    growth = 3

    def __init__(self, c_in: int) -> None:
        super().__init__()
        self.bn, self.conv = norm(c_in), conv(c_in, self.growth)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x, self.conv(F.relu(self.bn(x)))], 1)


class Inception(nn.Module):
    """Branches that are concatenated."""

    kinds = ("parallel",)

    def __init__(self, c_in: int, c_out: int, stride: int = 1) -> None:
        super().__init__()
        self.one = nn.Sequential(conv(c_in, 2, 1, stride), norm(2), nn.ReLU(inplace=True))
        self.three = nn.Sequential(conv(c_in, 3, 1), nn.ReLU(), conv(3, c_out - 4, 3, stride))
        self.pool = nn.Sequential(nn.MaxPool2d(3, stride, 1), conv(c_in, 2, 1))

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.one(x), self.three(x), self.pool(x)], dim=1)


class Shuffle(nn.Module):
    """Half of the channels pass through (ShuffleNet v2); their number must be even."""

    kinds = ("parallel",)

    def __init__(self, channels: int) -> None:
        super().__init__()
        half = channels // 2
        self.branch = nn.Sequential(conv(half, half, 1), norm(half), nn.ReLU(inplace=True))

    def forward(self, x: Tensor) -> Tensor:
        kept, changed = x.chunk(2, dim=1)
        out = torch.cat((kept, self.branch(changed)), dim=1)
        n, c, h, w = out.size()
        out = out.view(n, 2, c // 2, h, w)
        return torch.transpose(out, 1, 2).contiguous().view(n, c, h, w)


class DropPath(nn.Module):
    """Stochastic depth as a module; the identity in evaluation mode."""

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return x
        return x * (torch.rand(len(x), 1, 1, 1) < 0.5)


class ConvNeXt(nn.Module):
    """Channels last within the branch, layer scale, stochastic depth."""

    kinds = ("residual",)
    ends = (("narrow",),)

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.depthwise = conv(channels, channels, groups=channels)
        self.norm = nn.LayerNorm(channels)
        self.widen, self.narrow = nn.Linear(channels, 8), nn.Linear(8, channels)
        self.gamma = nn.Parameter(torch.rand(channels) + 0.5)
        self.drop_path = DropPath()

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(self.depthwise(x).permute(0, 2, 3, 1))
        y = self.gamma * self.narrow(F.gelu(self.widen(y)))
        return x + self.drop_path(y.permute(0, 3, 1, 2))


class ThreeRoads(nn.Module):
    """The shortcut and two branches in one sum."""

    kinds = ("residual",)
    ends = (("a", "b"),)

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.a, self.b = conv(channels, channels), conv(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.a(x) + x + self.b(x).tanh()


class Twice(nn.Module):
    """A branch that uses its convolution two times."""

    kinds = ("residual",)
    ends = (("conv",),)

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv, self.bn = conv(channels, channels), norm(channels)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv(F.relu(self.bn(self.conv(x))))


class Plain(nn.Module):
    """A convolution with its normalisation and non-linearity, as in VGG."""

    kinds = ("plain",)

    def __init__(self, c_in: int, c_out: int, stride: int = 1) -> None:
        super().__init__()
        self.conv, self.bn, self.relu = conv(c_in, c_out, stride=stride), norm(c_out), nn.ReLU(True)

    def forward(self, x: Tensor) -> Tensor:
        return self.relu(self.bn(self.conv(x)))


class Attention(nn.Module):
    """A block of a vision transformer: attention and MLP, each with a shortcut."""

    kinds = ("residual", "residual")
    ends = (("attention",), ("mlp",))

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = nn.MultiheadAttention(width, 2, dropout=0.1, batch_first=True)
        self.mlp = nn.Sequential(
            nn.Linear(width, 8), nn.GELU(), nn.Dropout(0.1), nn.Linear(8, width)
        )

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm1(x)
        x = x + self.attention(y, y, y, need_weights=False)[0]
        return x + self.mlp(self.norm2(x))


class Mixer(nn.Module):
    """Tokens are mixed, then channels."""

    kinds = ("residual", "residual")
    ends = (("tokens",), ("channels",))

    def __init__(self, width: int, tokens: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.tokens, self.channels = nn.Linear(tokens, tokens), nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        x = x + F.gelu(self.tokens(self.norm1(x).transpose(1, 2))).transpose(1, 2)
        return x + F.gelu(self.channels(self.norm2(x)))


class SideBySide(nn.Module):
    """Attention and MLP read one normalised tensor and enter one sum."""

    kinds = ("residual",)
    ends = (("out", "mlp"),)

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm, self.mlp = nn.LayerNorm(width), nn.Linear(width, width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(x)
        q, k, v = self.qkv(y).unflatten(-1, (3, 2, -1)).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        return x + self.out(mixed) + self.mlp(y)


class Network(nn.Module):
    """A stem, blocks and a classifier.

    Attributes:
        input_shape: Shape of one image.
        kinds: The kind of each block that must be found, in order.
    """

    def __init__(self, blocks: Sequence[nn.Module], channels: tuple[int, int]) -> None:
        super().__init__()
        self.input_shape = (3, 8, 8)
        self.stem = nn.Sequential(conv(3, channels[0]), norm(channels[0]), nn.ReLU(inplace=True))
        self.blocks = nn.Sequential(*blocks)
        self.classifier = nn.Linear(channels[1], CLASSES)
        self.kinds = chosen(["plain", *(kind for block in blocks for kind in block.kinds), "plain"])

    def forward(self, x: Tensor) -> Tensor:
        x = self.blocks(self.stem(x))
        x = F.adaptive_avg_pool2d(x, 1)
        return self.classifier(x.view(x.size(0), -1))


class Silent(nn.Module):
    """A layer that runs and gives noughts; attention keeps its pair of results."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, *args: Tensor, **kwargs: bool) -> Tensor | tuple[Tensor, None]:
        out = self.layer(*args, **kwargs)
        return (torch.zeros_like(out[0]), None) if isinstance(out, tuple) else torch.zeros_like(out)


def silenced(model: nn.Module, index: int) -> nn.Module:
    """A copy of a network whose residual or dense block `index` (from 1) has no branch."""
    model = copy.deepcopy(model)
    ends = [
        (block, names)
        for block in model.blocks
        if set(block.kinds) & {"residual", "dense"}
        for names in block.ends
    ]
    block, names = ends[index - 1]
    for name in names:
        setattr(block, name, Silent(getattr(block, name)))
    return model


class Tokens(nn.Module):
    """A vision transformer: patches, a class token, positions, blocks, the class token's logits."""

    def __init__(self, blocks: Sequence[nn.Module], width: int) -> None:
        super().__init__()
        self.input_shape = (3, 8, 8)
        self.patches = nn.Conv2d(3, width, 4, 4)
        self.token = nn.Parameter(torch.randn(1, 1, width))
        self.positions = nn.Parameter(torch.randn(1, 5, width))
        self.blocks = nn.ModuleList(blocks)
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, CLASSES)
        self.kinds = chosen([kind for block in blocks for kind in block.kinds])

    def forward(self, x: Tensor) -> Tensor:
        x = self.patches(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(x.shape[0], -1, -1), x], dim=1) + self.positions
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x)[:, 0])


def chosen(kinds: Sequence[str]) -> list[str]:
    """The kinds that are taken as blocks, of all that there are."""
    for group in (("residual", "dense"), ("parallel",), ("plain",)):
        if set(group) & set(kinds):
            return [kind for kind in kinds if kind in group]
    return []


_CHANGING = {
    "post": PostActivation, "bottleneck": Bottleneck, "pre": PreActivation,
    "excite": SqueezeExcitation, "inception": Inception, "plain": Plain,
}  # fmt: skip
_KEEPING = {"shuffle": Shuffle, "convnext": ConvNeXt, "three": ThreeRoads, "twice": Twice}
KINDS = (*_CHANGING, *_KEEPING, "dense")
TOKEN_KINDS = ("attention", "mixer", "side")


def build(plan: Sequence[tuple[str, int, int]], seed: int = 0, width: int = 6) -> nn.Module:
    """Build a network of images from (kind, channels, stride) of each block.

    Args:
        plan: Kinds as in `KINDS`, or only `TOKEN_KINDS`, whose channels and strides do not matter.
        seed: For the weights; the global generator is left as it was.
        width: Channels of the stem, or of the tokens.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if plan and all(kind in TOKEN_KINDS for kind, _, _ in plan):
            return _tokens([kind for kind, _, _ in plan], width)
        blocks, channels = [], width
        for kind, c_out, stride in plan:
            if kind == "dense":
                blocks.append(DenseLayer(channels))
                channels += DenseLayer.growth
            elif kind in _KEEPING:
                if kind == "shuffle" and channels % 2:
                    blocks.append(Plain(channels, channels + 1))
                    channels += 1
                blocks.append(_KEEPING[kind](channels))
            else:
                blocks.append(_CHANGING[kind](channels, c_out, stride))
                channels = c_out
        return Network(blocks, (width, channels)).eval()


def _tokens(kinds: Sequence[str], width: int) -> nn.Module:
    make = {
        "attention": lambda: Attention(width),
        "mixer": lambda: Mixer(width, 5),
        "side": lambda: SideBySide(width),
    }
    return Tokens([make[kind]() for kind in kinds], width).eval()


def decomposable() -> nn.Module:
    """Four residual blocks, of which the third is a transition; five classes; 3x8x8 images."""
    plan = [("post", 6, 1), ("pre", 6, 1), ("post", 8, 2), ("post", 8, 1)]
    return build(plan, seed=1)


@st.composite
def random_networks(draw: st.DrawFn, max_blocks: int = 5) -> nn.Module:
    """Chains of random blocks with random weights."""
    seed = draw(st.integers(0, 1000), label="seed")
    if draw(st.integers(0, 3), label="tokens if 0") == 0:
        kinds = draw(st.lists(st.sampled_from(TOKEN_KINDS), min_size=1, max_size=max_blocks))
        return build([(kind, 0, 1) for kind in kinds], seed, draw(st.sampled_from([4, 6])))
    block = st.tuples(st.sampled_from(KINDS), st.sampled_from([6, 8]), st.sampled_from([1, 1, 2]))
    return build(draw(st.lists(block, min_size=1, max_size=max_blocks), label="blocks"), seed)


def images_for(model: nn.Module, count: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Random images that a network takes, and labels."""
    generator = torch.Generator().manual_seed(seed)
    images = torch.randn(count, *model.input_shape, generator=generator)
    return images, torch.randint(CLASSES, (count,), generator=generator)
