"""Every linear join of activations is a sum, whatever operation it is spelled with."""

from __future__ import annotations

import pytest
import torch
from networks import CLASSES
from torch import nn

from ensembles.decomposition import decompose
from ensembles.errors import DecompositionError


class Joined(nn.Module):
    """Two blocks whose input and branch are joined by a given function."""

    def __init__(self, join):
        super().__init__()
        self.stem, self.head = nn.Linear(6, 4), nn.Linear(4, CLASSES)
        self.branches = nn.ModuleList(nn.Linear(4, 4) for _ in range(2))
        self.weights = nn.Parameter(torch.tensor([1.0, 0.5]))
        self.scale = nn.Parameter(torch.tensor([0.5, 1.0, 2.0, 3.0]))
        self.join = join

    def forward(self, x):
        x = self.stem(x)
        for branch in self.branches:
            x = self.join(self, x, torch.tanh(branch(x)))
        return self.head(x)


def joined(join):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Joined(join).eval()


def _out(_, x, y):
    made = torch.empty_like(x)
    torch.add(x, y, out=made)
    return made


def _in_place(x, y, change):
    x = x.clone()
    change(x, y)
    return x


def _whole(x, y):
    x[:] += y


def _matrix(m, x, y):
    return torch.addmm(x, y, torch.diag(m.scale), beta=0.5, alpha=2)


def _batched(m, x, y):
    return torch.baddbmm(x[:, None], y[:, None], torch.diag(m.scale).expand(len(x), 4, 4))[:, 0]


def _both(stacked):
    return stacked[0] + stacked[1]


def _joined_and_split(_, x, y):
    return torch.cat([x, y], 1).view(len(x), 2, 4).sum(1)


IDENTITY = {
    "alpha": lambda _, x, y: torch.add(x, y, alpha=2),
    "keywords": lambda _, x, y: torch.add(input=x, other=y),
    "minus": lambda _, x, y: x - y,
    "sub": lambda _, x, y: x.sub(y, alpha=0.5),
    "subtract": lambda _, x, y: torch.subtract(x, y),
    "aten": lambda _, x, y: torch.ops.aten.sub.Tensor(x, y),
    "addcmul": lambda m, x, y: torch.addcmul(x, m.scale, y, value=0.5),
    "addcdiv": lambda m, x, y: x.addcdiv(y, m.scale),
    "sum of a stack": lambda _, x, y: torch.stack([x, y]).sum(0),
    "sum of the last": lambda _, x, y: torch.sum(torch.stack([x, y], -1), dim=-1),
    "mean of a stack": lambda _, x, y: torch.stack([x, y]).mean(0),
    "einsum": lambda _, x, y: torch.einsum("nbc->bc", torch.stack([x, y])),
    "concatenated": lambda _, x, y: torch.cat([x[None], y[None]]).sum(0),
    "split": _joined_and_split,
    "chunks": lambda _, x, y: sum(torch.cat([x, y], 1).chunk(2, 1)),
    "unbound": lambda _, x, y: sum(torch.stack([x, y], 1).unbind(1)),
    "entries": lambda _, x, y: _both(torch.stack([x, y])),
    "kept": lambda _, x, y: torch.stack([x, y]).sum(0, keepdim=True).squeeze(0),
    "python": lambda _, x, y: sum([x, y]),
    "add_": lambda _, x, y: _in_place(x, y, lambda a, b: a.add_(b, alpha=2)),
    "+=": lambda _, x, y: _in_place(x, y, torch.Tensor.__iadd__),
    "all of it": lambda _, x, y: _in_place(x, y, _whole),
    "out=": _out,
    "list": lambda _, x, y: torch._foreach_add([x], [y])[0],
}
WEIGHED = {
    "rsub": lambda _, x, y: torch.rsub(x, y),
    "lerp": lambda _, x, y: torch.lerp(x, y, 0.3),
    "lerp by weights": lambda m, x, y: torch.lerp(x, y, m.scale.sigmoid()),
    "addmm": _matrix,
    "baddbmm": _batched,
    "weighed einsum": lambda m, x, y: torch.einsum("n,nbc->bc", m.weights, torch.stack([x, y])),
    "weighed stack": lambda m, x, y: (torch.stack([x, y]) * m.weights.view(2, 1, 1)).sum(0),
    "tensordot": lambda m, x, y: torch.tensordot(m.weights, torch.stack([x, y]), dims=1),
    "vecdot": lambda m, x, y: torch.linalg.vecdot(torch.stack([x, y], -1), m.weights),
    "product": lambda m, x, y: torch.stack([x, y], -1) @ m.weights,
}


@torch.no_grad()
@pytest.mark.parametrize("spelling", [*IDENTITY, *WEIGHED])
def test_a_join_is_a_sum(spelling):
    model = joined({**IDENTITY, **WEIGHED}[spelling])
    rows = torch.randn(4, 6, generator=torch.Generator().manual_seed(0))
    net = decompose(model, rows)
    assert [block.kind for block in net] == ["residual"] * 2
    torch.testing.assert_close(net(rows), model(rows))
    if spelling in IDENTITY and spelling != "mean of a stack":
        x = net.stem(rows)
        assert torch.equal(net.block(1).deleted(x), x) and net.block(1).road == "identity"
    else:  # the branch is what the join makes of a shortcut that carries nothing
        x = net.stem(rows)
        made = model.join(model, torch.zeros_like(x), torch.tanh(model.branches[0](x)))
        block = net.block(1)
        middle = x if block.pre is None else block.pre(x)
        found = block.on_branch(middle)
        found = found if block.post is None or spelling == "baddbmm" else block.post(found)
        factor = 0.5 if spelling == "mean of a stack" else 1
        torch.testing.assert_close(found.reshape(made.shape) * factor, made)


def test_a_gate_in_an_interpolation():
    model = joined(lambda m, x, y: torch.lerp(x, y, torch.sigmoid(m.branches[0](x))))
    rows = torch.randn(4, 6, generator=torch.Generator().manual_seed(0))
    net = decompose(model, rows)
    assert [block.kind for block in net] == ["gated"] * 2
    torch.testing.assert_close(net(rows), model(rows))


@pytest.mark.parametrize(
    "join",
    [
        lambda _, x, y: x.index_add(1, torch.arange(4), y),
        lambda _, x, y: torch.stack([x, y]).cumsum(0)[-1],
        lambda m, x, y: nn.functional.linear(torch.stack([x, y], -1), m.weights[None])[..., 0],
    ],
)
def test_a_sum_that_is_not_seen_through_is_said(join):
    rows = torch.randn(4, 6, generator=torch.Generator().manual_seed(0))
    with pytest.raises(DecompositionError, match=r"activations are added in the model's own for"):
        decompose(joined(join), rows)
    plain = decompose(joined(join), rows, kinds=["plain"])
    assert plain.uncut == ("the model's own forward",)
