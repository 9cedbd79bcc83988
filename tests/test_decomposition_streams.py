"""Streams that are added up anew by each layer, or to which shares of early values are added."""

from __future__ import annotations

import functools
from collections.abc import Callable
from functools import reduce
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import ensembles
from ensembles.decomposition import decompose
from ensembles.errors import DecompositionError
from ensembles.lesions import Delete

WIDTH = 6


class Streams(nn.Module):
    """Branches whose outputs a body adds up; one of them may be off."""

    def __init__(self, body: Callable[[Any, Tensor], Tensor], count: int) -> None:
        super().__init__()
        self.body, self.off = body, 0
        self.stem, self.head = nn.Linear(4, WIDTH), nn.Linear(WIDTH, 3)
        self.layers = nn.ModuleList(nn.Linear(WIDTH, WIDTH) for _ in range(count))
        self.shares = nn.Parameter(torch.rand(count + 2))

    def branches(self) -> list[Callable[[Tensor], Tensor]]:
        return [
            lambda x, layer=layer, on=number != self.off: torch.tanh(layer(x)) * on  # type: ignore[misc]
            for number, layer in enumerate(self.layers, 1)
        ]

    def forward(self, x: Tensor) -> Tensor:
        made: Tensor = self.head(self.body(self, self.stem(x)))
        return made


def initial_share(model: Streams, x: Tensor) -> Tensor:
    """A share of the first value before each block (as in modded-nanogpt)."""
    first = x
    for branch in model.branches():
        x = 0.9 * x + 0.1 * first
        x = x + branch(x)
    return x


def u_net(model: Streams, x: Tensor) -> Tensor:
    """Weighted values of the first half are added in the second, the last one at once."""
    kept = []
    for branch in model.branches()[:3]:
        x = x + branch(x)
        kept.append(x)
    for share, branch in zip(model.shares, model.branches()[3:], strict=False):
        x = x + share * kept.pop()
        x = x + branch(x)
    return x


def weighted_average(model: Streams, x: Tensor) -> Tensor:
    """After each block a weighted average of all values (DenseFormer, 2402.02622)."""
    kept = [x]
    for branch in model.branches():
        x = kept[-1] + branch(kept[-1])
        kept.append(sum(share * one for share, one in zip(model.shares, [*kept, x], strict=False)))
    return kept[-1]


def in_parts(model: Streams, x: Tensor) -> Tensor:
    """The stream is a list of its parts, which each layer adds up."""
    parts = [x]
    for branch in model.branches():
        parts.append(branch(torch.stack(parts).sum(0)))
    return torch.stack(parts).sum(0)


def beside_the_first(model: Streams, x: Tensor) -> Tensor:
    """Each layer reads the first value and the sum of all that was made of it."""
    made: list[Tensor] = []
    for branch in model.branches():
        made.append(branch(x + sum(made) if made else x))
    return reduce(torch.add, made) + x


BODIES = {
    initial_share: 4,
    u_net: 6,
    weighted_average: 3,
    in_parts: 4,
    beside_the_first: 3,
}


@pytest.mark.parametrize("body", BODIES)
def test_each_branch_of_a_stream_is_one_block(body: Callable[[Any, Tensor], Tensor]) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model, rows = Streams(body, BODIES[body]).eval(), torch.randn(4, 4)
    net = decompose(model, rows)
    assert [block.kind for block in net] == ["residual"] * BODIES[body] and net.uncut == ()
    with torch.no_grad():
        torch.testing.assert_close(net(rows[:3]), model(rows[:3]))
        for block in net:
            model.off = block.index
            torch.testing.assert_close(net.lesioned(Delete((block.index,)))(rows), model(rows))
    data = [(rows, torch.arange(4) % 3)]
    frame = ensembles.paths(net, data, images=2, signs=0, progress=False)
    assert frame.attrs["sum_error"] < 1e-4


class Depths(Streams):
    """Tokens that a router chooses go through a block (mixture of depths, 2404.02258)."""

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for branch in self.branches():
            weights, chosen = torch.topk(x[..., :1], 2, dim=1)
            places = chosen.expand(-1, -1, WIDTH)
            x = x.scatter_add(1, places, branch(x.gather(1, places)) * weights)
        made: Tensor = self.head(x.mean(1))
        return made


def test_a_sum_into_places_that_a_router_chose_is_a_block() -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model, rows = Depths(initial_share, 2).eval(), torch.randn(4, 5, 4)
    net = decompose(model, rows)
    assert [block.kind for block in net] == ["residual"] * 2
    with torch.no_grad():
        model.off = 1
        torch.testing.assert_close(net.lesioned(Delete((1,)))(rows), model(rows))


def row_by_row(model: Streams, x: Tensor) -> Tensor:
    """The parts of the stream are written into one tensor."""
    parts = x.new_zeros(len(x), 3, WIDTH)
    parts[:, 0] = x
    for number, branch in enumerate(model.branches(), 1):
        parts[:, number] = branch(parts[:, :number].sum(1))
    return parts.sum(1)


def first_half(model: Streams, x: Tensor) -> Tensor:
    """Half of the channels is written anew; all are averaged by place."""
    for branch in model.branches():
        x = torch.relu(model.layers[0](x))
        x[:, :2] = branch(x)[:, :2]
        x = torch.relu(model.layers[1](x.unflatten(1, (3, 2)).mean(2).repeat(1, 2)))
    return x


def test_what_is_written_side_by_side_and_added_is_said() -> None:
    rows = torch.randn(4, 4)
    with pytest.raises(DecompositionError, match="activations are added in the model's own f"):
        decompose(Streams(row_by_row, 2).eval(), rows)
    assert decompose(Streams(first_half, 2).eval(), rows).uncut == ()


class Halting(Streams):
    """Goes on until what it has added up is enough (adaptive computation time)."""

    def forward(self, x: Tensor) -> Tensor:
        x, spent = self.stem(x), torch.zeros(len(x), 1)
        for branch in self.branches():
            if bool((spent > 1.5).all()):
                break
            spent = spent + torch.sigmoid(F.linear(x, self.layers[0].weight)).mean(1, keepdim=True)
            x = x + branch(x)
        made: Tensor = self.head(x)
        return made


def test_a_sum_that_only_decides_is_no_block() -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model, rows = Halting(in_parts, 3).eval(), torch.randn(4, 4)
    net = decompose(model, rows)
    assert len(net) == 3 and net.uncut == ()
    assert {block.out_shape for block in net} == {(WIDTH,)}


DIRECTION = F.normalize(torch.randn(WIDTH, generator=torch.Generator().manual_seed(1)), dim=0)
DOWN, UP = torch.randn(2, 2, WIDTH, generator=torch.Generator().manual_seed(2))


class Steered:
    """A hook that is an object."""

    def __call__(self, _module: nn.Module, _args: Any, out: Tensor) -> Tensor:
        return out + 0.3 * out.norm(dim=-1, keepdim=True) * DIRECTION


HOOKS: dict[str, tuple[Any, int]] = {
    "ablated": (lambda _m, _a, out: out - (out @ DIRECTION)[:, None] * DIRECTION, 2),
    "subspace": (lambda _m, _a, out: out - out @ DOWN.T @ DOWN, 2),
    "steered": (Steered(), 2),
    "partial": (functools.partial(Steered.__call__, Steered()), 2),
    "adapter": (lambda _m, _a, out: out + torch.relu(out @ DOWN.T) @ UP, 3),
}


class Blocks(nn.Module):
    """Two blocks, after the first of which a hook may run."""

    def __init__(self) -> None:
        super().__init__()
        layers = [nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.Tanh()) for _ in range(2)]
        self.blocks = nn.ModuleList(Added(layer) for layer in layers)
        self.stem, self.head = nn.Linear(4, WIDTH), nn.Linear(WIDTH, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for block in self.blocks:
            x = block(x)
        made: Tensor = self.head(x)
        return made


class Added(nn.Module):
    def __init__(self, branch: nn.Module) -> None:
        super().__init__()
        self.branch, self.off = branch, False

    def forward(self, x: Tensor) -> Tensor:
        made: Tensor = x if self.off else x + self.branch(x)
        return made


@pytest.mark.parametrize("kind", HOOKS)
def test_a_direction_that_a_hook_takes_out_is_no_block(kind: str) -> None:
    hook, count = HOOKS[kind]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model, rows = Blocks().eval(), torch.randn(4, 4)
    model.blocks[0].register_forward_hook(hook)
    net = decompose(model, rows)
    assert [block.kind for block in net] == ["residual"] * count and net.uncut == ()
    with torch.no_grad():
        torch.testing.assert_close(net(rows), model(rows))
        model.blocks[0].off = True
        torch.testing.assert_close(net.lesioned(Delete((1,)))(rows), model(rows))


def test_a_network_of_layers_stays_one_where_a_hook_takes_out_a_direction() -> None:
    model = nn.Sequential(nn.Linear(4, WIDTH), nn.ReLU(), nn.Linear(WIDTH, 3)).eval()
    model[1].register_forward_hook(HOOKS["ablated"][0])
    assert [block.kind for block in decompose(model, torch.randn(4, 4))] == ["plain"] * 2


class Told(Streams):
    """What is made of a time is added before each layer."""

    def __init__(self, count: int) -> None:
        super().__init__(in_parts, count)
        self.time = nn.Linear(1, WIDTH)

    def forward(self, x: Tensor, time: Tensor) -> Tensor:  # type: ignore[override]
        x, told = self.stem(x), torch.relu(self.time(torch.sin(time)))
        for branch in self.branches():
            x = x + branch(x + told)
        made: Tensor = self.head(x)
        return made


class Chosen(Streams):
    """A label chooses the matrix of each layer."""

    def __init__(self, count: int) -> None:
        super().__init__(in_parts, count)
        self.matrices = nn.Parameter(torch.randn(count, 4, WIDTH, WIDTH))

    def forward(self, x: Tensor, label: Tensor) -> Tensor:  # type: ignore[override]
        x = self.stem(x)
        for number, matrices in enumerate(self.matrices, 1):
            made = torch.tanh(torch.einsum("ni,nij->nj", x, matrices[label]))
            x = x if number == self.off else x + made
        out: Tensor = self.head(x)
        return out


@pytest.mark.parametrize(
    ("make", "beside"), [(Told, torch.rand(4, 1)), (Chosen, torch.tensor([0, 2, 1, 3]))]
)
def test_what_a_second_input_adds_or_chooses_is_no_block(
    make: Callable[[int], Streams], beside: Tensor
) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model, rows = make(3).eval(), torch.randn(4, 4)
    net = decompose(model, (rows, beside))
    assert [block.kind for block in net] == ["residual"] * 3
    with torch.no_grad():
        for block in net:
            model.off = block.index
            edited = model(rows, beside)
            lesioned = net.lesioned(Delete((block.index,)))((rows, beside))
            torch.testing.assert_close(lesioned, edited, atol=1e-5, rtol=1e-4)
