"""Every linear join of activations is a sum, whatever operation it is spelled with."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from networks import CLASSES
from torch import nn

import ensembles
from ensembles.decomposition import decompose
from ensembles.errors import DecompositionError, PathError
from ensembles.lesions import Delete

ROWS = torch.randn(4, 6, generator=torch.Generator().manual_seed(0))
LIBRARY = torch.library.Library("joins", "DEF")
LIBRARY.define("rectified(Tensor a, Tensor b) -> Tensor")
LIBRARY.impl("rectified", lambda a, b: torch.relu(a + b), "CompositeExplicitAutograd")


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


def two_sums(model):
    """The model taken apart, its joins found as sums."""
    net = decompose(model, ROWS)
    assert [block.kind for block in net] == ["residual"] * 2
    torch.testing.assert_close(net(ROWS), model(ROWS))
    return net


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
    net = two_sums(model)
    if spelling in IDENTITY and spelling != "mean of a stack":
        x = net.stem(ROWS)
        assert torch.equal(net.block(1).deleted(x), x) and net.block(1).road == "identity"
    else:  # the branch is what the join makes of a shortcut that carries nothing
        x = net.stem(ROWS)
        made = model.join(model, torch.zeros_like(x), torch.tanh(model.branches[0](x)))
        block = net.block(1)
        middle = x if block.pre is None else block.pre(x)
        found = block.on_branch(middle)
        found = found if block.post is None or spelling == "baddbmm" else block.post(found)
        factor = 0.5 if spelling == "mean of a stack" else 1
        torch.testing.assert_close(found.reshape(made.shape) * factor, made)


REPEATED = {
    "2x - (x - y)": (lambda m, x, y: 2 * x - (x - y), 1),
    "3x - (2x - y)": (lambda m, x, y: 3 * x - (2 * x - y), 1),
    "2x - x + y": (lambda m, x, y: 2 * x - x + y, 1),
    "2(x + y) - x - y": (lambda m, x, y: 2 * (x + y) - x - y, 1),
    "1.5x - (x - 2y)/2": (lambda m, x, y: 1.5 * x - (x - 2 * y) / 2, 1),
    "x/2 + (x + y)/2": (lambda m, x, y: 0.5 * x + 0.5 * (x + y), 1),
    "x + (x + y)": (lambda m, x, y: x + (x + y), 2),
    "alpha": (lambda m, x, y: torch.add(2 * x, x - y, alpha=-1), 1),
    "stack": (lambda m, x, y: torch.stack([2 * x, -x, y], -1).sum(-1), 1),
}


@torch.no_grad()
@pytest.mark.parametrize("spelling", REPEATED)
def test_what_a_sum_holds_several_times_is_one_road(spelling):
    """Deletion leaves what a sum leaves of its input when the branch gives nothing."""
    join, left = REPEATED[spelling]
    model = joined(join)
    net = two_sums(model)
    x = net.stem(ROWS)
    torch.testing.assert_close(net.block(1).deleted(x), left * x)
    kept = join(model, x, torch.tanh(model.branches[0](x)) * 0)
    torch.testing.assert_close(net.block(1).deleted(x), kept)


UPDATES = {
    "number": lambda m, x, y: x + (y - x) / 4,
    "weight": lambda m, x, y: x + m.weights[1] * (y - x),
    "weights": lambda m, x, y: x - m.scale * (x - y),
}


@torch.no_grad()
@pytest.mark.parametrize("spelling", UPDATES)
def test_an_update_of_what_is_carried_is_left_out_whole(spelling):
    model = joined(UPDATES[spelling])
    net = two_sums(model)
    x = net.stem(ROWS)
    torch.testing.assert_close(net.block(1).deleted(x), x)


@torch.no_grad()
def test_a_sum_in_which_the_input_cancels_out_has_no_shortcut():
    model = joined(lambda m, x, y: x + y - x)
    net = decompose(model, ROWS)
    assert {block.kind for block in net} == {"plain"}
    torch.testing.assert_close(net(ROWS), model(ROWS))


def test_a_gate_in_an_interpolation():
    model = joined(lambda m, x, y: torch.lerp(x, y, torch.sigmoid(m.branches[0](x))))
    net = decompose(model, ROWS)
    assert [block.kind for block in net] == ["gated"] * 2
    torch.testing.assert_close(net(ROWS), model(ROWS))


PARTS = (slice(None, 2), slice(2, None))


def _by_columns(x, y):
    for column in range(4):
        x[:, column] += y[:, column]


def _by_masks(x, y):
    x[:, torch.tensor([True, False, True, False])] += y[:, ::2]
    x[:, 1::2] += y[:, 1::2]


def _collected(_, x, y):
    made = torch.zeros_like(x)
    made += x
    made += y
    return made


def _split(_, x, y):
    return torch.add(*torch.hstack([x, y]).split(4, 1))


def _spread(_, x, y):
    places = torch.arange(4).repeat(2).expand(len(x), 8)
    return torch.zeros_like(x).scatter_add(1, places, torch.cat([x, y], 1))


def _complex(_, x, y):
    made = torch.complex(x, y)
    return made.real + made.imag


def _imaginary(_, x, y):
    made = x + 1j * y
    return made.real + made.imag


WHATEVER = {
    "index_add": lambda _, x, y: x.index_add(1, torch.arange(4).flip(0), y),
    "a third": lambda _, x, y: x.index_add(1, torch.arange(4), y, alpha=1 / 3),
    "scatter_add": lambda _, x, y: x.scatter_add(1, torch.arange(4).expand(len(x), 4), y),
    "scatter": _spread,
    "index_put": lambda _, x, y: x.index_put((torch.arange(len(x)),), y, accumulate=True),
    "cumsum": lambda _, x, y: torch.stack([x, y]).cumsum(0)[-1],
    "linear": lambda m, x, y: nn.functional.linear(torch.stack([x, y], -1), m.weights[None])[
        ..., 0
    ],
    "conv": lambda _, x, y: torch.conv1d(torch.stack([x, y], 1), torch.ones(1, 2, 1))[:, 0],
    "bias": lambda _, x, y: F.linear(y, torch.eye(4), x),
    "complex": _complex,
    "imaginary": _imaginary,
    "pairs": lambda _, x, y: torch.view_as_real(torch.complex(x, y)).sum(-1),
    "pooled": lambda _, x, y: torch.avg_pool1d(torch.stack([x, y], -1), 2)[..., 0] * 2,
    "ones": lambda _, x, y: (torch.ones(1, 2) @ torch.stack([x, y], 1))[:, 0],
    "tensordot": lambda _, x, y: torch.tensordot(torch.stack([x, y]), torch.ones(2), ([0], [0])),
    "einsum": lambda _, x, y: torch.einsum("bsc,s", torch.stack([x, y], 1), torch.ones(2)),
    "fourier": lambda _, x, y: torch.fft.fft(torch.stack([x, y]), dim=0)[0].real,
    "to size": lambda _, x, y: torch.stack([x, y]).sum_to_size(1, *x.shape)[0],
    "turned": lambda _, x, y: torch.stack([x, y]).permute(1, 2, 0).sum(-1),
    "flat": lambda _, x, y: torch.stack([x, y]).reshape(2, -1).sum(0).view_as(x),
    "rows": lambda _, x, y: torch.vstack([x[None], y[None]]).sum(0),
    "columns": lambda _, x, y: torch.stack([x[:, i] + y[:, i] for i in range(4)], 1),
    "halves": lambda _, x, y: torch.cat([x[:, part] + y[:, part] for part in PARTS], 1),
    "hstack": _split,
    "foreach": lambda _, x, y: torch._foreach_sub([x], [y], alpha=2)[0],
    "packet": lambda _, x, y: torch.ops.aten.add(x, y),
    "relu": lambda _, x, y: torch._add_relu(x, y),
    "collected": _collected,
    "each column": lambda _, x, y: _in_place(x, y, _by_columns),
    "masks": lambda _, x, y: _in_place(x, y, _by_masks),
    "differences": lambda _, x, y: x + torch.diff(torch.stack([x, x + y]), dim=0)[0],
    "negated": lambda _, x, y: torch.diff(torch.stack([-x, y]), dim=0)[0],
    "batched": lambda _, x, y: torch.bmm(torch.ones(len(x), 1, 2), torch.stack([x, y], 1))[:, 0],
    "reshaped": lambda _, x, y: (x.reshape(len(x), 1, 4) + y.reshape(len(x), 1, 4))[:, 0],
    "copied": lambda _, x, y: torch.empty_like(x).copy_(x) + y,
    "double": lambda _, x, y: (x.double() + y.double()).float(),
}


@torch.no_grad()
@pytest.mark.parametrize("spelling", WHATEVER)
def test_a_sum_is_found_by_what_it_computes(spelling):
    model = joined(WHATEVER[spelling])
    net = two_sums(model)
    assert not net.uncut or spelling == "imaginary"  # the sum of its own two parts
    torch.testing.assert_close(net(ROWS[:3]), model(ROWS[:3]))
    x = model.stem(ROWS)
    for index, branch in enumerate(model.branches, 1):
        y = torch.tanh(branch(x))
        x = model.join(model, x, torch.zeros_like(y) if index == 1 else y)
    torch.testing.assert_close(net.lesioned(Delete((1,)))(ROWS), model.head(x))


@pytest.mark.parametrize("spelling", ["batched", "reshaped", "differences", "double", "pooled"])
def test_its_paths_add_up_to_the_models_own_gradient(spelling):
    model, labels = joined(WHATEVER[spelling]), torch.tensor([0, 1, 2, 0])
    net = decompose(model, ROWS)
    for direction in ("gradient", "logits"):
        asked = {"direction": direction, "images": 4, "signs": 0, "progress": False}
        frame = ensembles.paths(net, [(ROWS, labels)], **asked)
        assert frame.attrs["sum_error"] < 1e-5
    ends = [ROWS.clone().requires_grad_() for _ in range(2)]
    for one, x in zip((model, net), ends, strict=True):
        F.cross_entropy(one(x), labels).backward()
    torch.testing.assert_close(ends[1].grad, ends[0].grad)


def test_paths_through_a_sum_of_complex_numbers_are_refused():
    model = joined(lambda _, x, y: torch.fft.irfft(torch.fft.rfft(x) + torch.fft.rfft(y), n=4))
    net = two_sums(model)
    with pytest.raises(PathError, match="reads or gives complex numbers"):
        ensembles.paths(net, [(ROWS, torch.zeros(4, dtype=torch.long))], progress=False)


class Beside(nn.Module):
    """Two convolutions side by side, and the mean of each of their channels."""

    def __init__(self):
        super().__init__()
        self.one, self.other = nn.Conv2d(1, 2, 3), nn.Conv2d(1, 2, 3)
        self.head = nn.Linear(4, CLASSES)

    def forward(self, x):
        return self.head(torch.cat([self.one(x), self.other(x)], 1).mean((2, 3)))


def test_a_mean_over_each_channel_joins_nothing():
    net = decompose(Beside().eval(), torch.randn(2, 1, 6, 6))
    assert [block.kind for block in net] == ["parallel"] and net.uncut == ()


@pytest.mark.parametrize(
    ("join", "message"),
    [
        (lambda _, x, y: torch.complex(x, y).abs(), r"activations are added in the model's own f"),
        (torch.ops.joins.rectified, r"joins::rectified, an operation that cannot be looked into,"),
    ],
)
def test_a_sum_that_is_not_seen_through_is_said(join, message):
    model = joined(join if message.startswith("act") else lambda _, x, y: join(x, y))
    with pytest.raises(DecompositionError, match=message):
        decompose(model, ROWS)
    plain = decompose(model, ROWS, kinds=["plain"])
    assert plain.uncut[0].startswith("the model's own forward")


class Expanded(nn.Module):
    """Two streams that begin as one, mixed around each branch (as in Zhu et al. 2024)."""

    def __init__(self):
        super().__init__()
        self.stem, self.head, self.off = nn.Linear(6, 4), nn.Linear(4, CLASSES), 0
        self.branches = nn.ModuleList(nn.Linear(4, 4) for _ in range(3))
        self.read = nn.Parameter(torch.randn(3, 2))
        self.mix = nn.Parameter(torch.eye(2) + torch.randn(3, 2, 2) / 4)
        self.write = nn.Parameter(torch.randn(3, 2, 1))

    def forward(self, x):
        x = torch.stack([self.stem(x)] * 2, 1)
        for number, branch in enumerate(self.branches):
            made = torch.tanh(branch(torch.einsum("nsc,s->nc", x, self.read[number])))
            x = torch.einsum("nsc,st->ntc", x, self.mix[number])
            x = x if self.off == number + 1 else x + self.write[number] * made[:, None]
        return self.head(x.sum(1))


class PartInPlace(nn.Module):
    """Channels of what is carried are scaled in place beside a branch that read them before."""

    def __init__(self):
        super().__init__()
        self.stem, self.head, self.off = nn.Conv2d(3, 4, 1), nn.Linear(4, CLASSES), 0
        self.branches = nn.ModuleList(nn.Conv2d(4, 4, 3, padding=1) for _ in range(2))

    def forward(self, x):
        x = self.stem(x)
        for number, branch in enumerate(self.branches, 1):
            part, made = x[:, :2], torch.tanh(branch(x))
            part.mul_(0.5)
            x = x if self.off == number else x + made
        return self.head(x.mean((2, 3)))


@pytest.mark.parametrize(
    ("make", "shape", "count"), [(Expanded, (6,), 3), (PartInPlace, (3, 8, 8), 2)]
)
@torch.no_grad()
def test_what_is_carried_in_parts_stays_without_the_branch(make, shape, count):
    torch.manual_seed(0)
    model, rows = make().eval(), torch.randn(4, *shape)
    net = decompose(model, rows)
    assert len(net) == count
    torch.testing.assert_close(net(rows), model(rows))
    for block in net:
        model.off = block.index
        lesioned = net.lesioned(Delete((block.index,)))(rows)
        torch.testing.assert_close(lesioned, model(rows), atol=1e-5, rtol=1e-4)
