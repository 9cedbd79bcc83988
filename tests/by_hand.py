"""The networks of `networks` written as plain loops, so that lesions can be done to them by hand.

Each module says, as two functions, what its branch makes of its input and how its end is made of
input and branch. Nothing of the library is used.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import networks as nets
import torch
import torch.nn.functional as F
from torch import Tensor, nn

Function = Callable[[Tensor], Tensor]


class Unit(NamedTuple):
    """One block.

    Attributes:
        branch: What the branch makes of the block's input.
        finish: The block's output, from its input and what the branch made.
    """

    branch: Function
    finish: Callable[[Tensor, Tensor], Tensor]

    def __call__(self, x: Tensor) -> Tensor:
        return self.finish(x, self.branch(x))


class Loop(NamedTuple):
    """A network: what comes first, the blocks with what stands before each, and what comes last."""

    stem: Function
    units: list[Unit]
    before: dict[int, list[Function]]
    head: Function

    def run(self, x: Tensor, program: Sequence[Iterable[Function]]) -> Tensor:
        """Run functions at each position, what stands before the block there first."""
        x = self.stem(x)
        for position, functions in enumerate(program, 1):
            for function in (*self.before.get(position, ()), *functions):
                x = function(x)
        return self.head(x)

    def intact(self) -> list[list[Function]]:
        return [[unit] for unit in self.units]


def loop_of(model: nn.Module) -> Loop:
    """A network with residual or dense blocks as a loop over these."""
    units: list[Unit] = []
    waiting: list[Function] = []
    before: dict[int, list[Function]] = {}
    for module in model.blocks:
        found = _UNITS[type(module)](module) if _is_found(module) else None
        if found is None:
            waiting.append(module)
            continue
        before[len(units) + 1], waiting = waiting, []
        units.extend(found)
    stem, head = _ends(model)
    rest = waiting

    def last(x: Tensor) -> Tensor:
        for function in rest:
            x = function(x)
        return head(x)

    return Loop(stem, units, before, last)


def modules_of(model: nn.Module) -> list[nn.Module]:
    """The module that each unit of the loop is of."""
    return [
        module for module in model.blocks if _is_found(module) for _ in _UNITS[type(module)](module)
    ]


def before_both(module: nn.Module) -> Function:
    """What shortcut and branch of a block begin after; of most the identity."""
    if not _is_pre_activation_transition(module):
        return nn.Identity()
    return lambda x: F.relu(module.bn1(x))


def after_both(module: nn.Module, unit: Unit) -> Function:
    """The branch of a block behind that."""
    if not _is_pre_activation_transition(module):
        return unit.branch
    return lambda x: module.conv2(F.relu(module.bn2(module.conv1(x))))


def _is_pre_activation_transition(module: nn.Module) -> bool:
    return isinstance(module, nets.PreActivation) and module.project is not None


def _is_found(module: nn.Module) -> bool:
    return bool({"residual", "dense"} & set(module.kinds))


def _ends(model: nn.Module) -> tuple[Function, Function]:
    if isinstance(model, nets.Tokens):

        def stem(x: Tensor) -> Tensor:
            x = model.patches(x).flatten(2).transpose(1, 2)
            return torch.cat([model.token.expand(len(x), -1, -1), x], dim=1) + model.positions

        return stem, lambda x: model.head(model.norm(x)[:, 0])
    return model.stem, lambda x: model.classifier(F.adaptive_avg_pool2d(x, 1).flatten(1))


def _post(m: nn.Module) -> list[Unit]:
    shortcut = m.downsample or nn.Identity()
    return [
        Unit(
            lambda x: m.bn2(m.conv2(F.relu(m.bn1(m.conv1(x))))),
            lambda x, value: F.relu(shortcut(x) + value),
        )
    ]


def _bottleneck(m: nn.Module) -> list[Unit]:
    shortcut = m.project or nn.Identity()

    def branch(x: Tensor) -> Tensor:
        y = F.relu(m.bn1(m.conv1(x)))
        return m.bn3(m.conv3(F.relu(m.bn2(m.conv2(y)))))

    return [Unit(branch, lambda x, value: F.relu(shortcut(x) + value))]


def _pre(m: nn.Module) -> list[Unit]:
    def branch(x: Tensor) -> Tensor:
        return m.conv2(F.relu(m.bn2(m.conv1(F.relu(m.bn1(x))))))

    def finish(x: Tensor, value: Tensor) -> Tensor:
        return value + (x if m.project is None else m.project(F.relu(m.bn1(x))))

    return [Unit(branch, finish)]


def _excite(m: nn.Module) -> list[Unit]:
    def branch(x: Tensor) -> Tensor:
        y = m.depthwise(F.silu(m.bn1(m.expand(x))))
        y = y * torch.sigmoid(m.excite(F.silu(m.squeeze(y.mean((2, 3), keepdim=True)))))
        return m.bn2(m.project(y))

    return [Unit(branch, _added)]


def _dense(m: nn.Module) -> list[Unit]:
    return [
        Unit(
            lambda x: m.conv(F.relu(m.bn(x))),
            lambda x, value: torch.cat([x, value], 1),
        )
    ]


def _convnext(m: nn.Module) -> list[Unit]:
    def branch(x: Tensor) -> Tensor:
        y = m.norm(m.depthwise(x).permute(0, 2, 3, 1))
        return (m.gamma * m.narrow(F.gelu(m.widen(y)))).permute(0, 3, 1, 2)

    return [Unit(branch, _added)]


def _three(m: nn.Module) -> list[Unit]:
    return [Unit(lambda x: m.a(x) + m.b(x).tanh(), _added)]


def _twice(m: nn.Module) -> list[Unit]:
    return [Unit(lambda x: m.conv(F.relu(m.bn(m.conv(x)))), _added)]


def _attention(m: nn.Module) -> list[Unit]:
    def attend(x: Tensor) -> Tensor:
        y = m.norm1(x)
        return m.attention(y, y, y, need_weights=False)[0]

    return [Unit(attend, _added), Unit(lambda x: m.mlp(m.norm2(x)), _added)]


def _mixer(m: nn.Module) -> list[Unit]:
    def tokens(x: Tensor) -> Tensor:
        return F.gelu(m.tokens(m.norm1(x).transpose(1, 2))).transpose(1, 2)

    return [Unit(tokens, _added), Unit(lambda x: F.gelu(m.channels(m.norm2(x))), _added)]


def _side(m: nn.Module) -> list[Unit]:
    def branch(x: Tensor) -> Tensor:
        y = m.norm(x)
        q, k, v = m.qkv(y).unflatten(-1, (3, 2, -1)).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        return m.out(mixed) + m.mlp(y)

    return [Unit(branch, _added)]


def _added(x: Tensor, value: Tensor) -> Tensor:
    return x + value


_UNITS: dict[type[nn.Module], Callable[[nn.Module], list[Unit]]] = {
    nets.PostActivation: _post,
    nets.Bottleneck: _bottleneck,
    nets.PreActivation: _pre,
    nets.SqueezeExcitation: _excite,
    nets.DenseLayer: _dense,
    nets.ConvNeXt: _convnext,
    nets.ThreeRoads: _three,
    nets.Twice: _twice,
    nets.Attention: _attention,
    nets.Mixer: _mixer,
    nets.SideBySide: _side,
}
