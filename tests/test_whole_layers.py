"""Mixtures of experts whose steps follow from what the router chose are layers of their own."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import ensembles
from ensembles.errors import DecompositionError
from ensembles.lesions import Delete

WIDTH, EXPERTS = 8, 3


class Router(nn.Module):
    """Gives how many tokens go to each expert as numbers, as that of JetMoe does."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(WIDTH, EXPERTS)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, list[int]]:
        gates, chosen = self.layer(x).softmax(-1).topk(1)
        sizes = nn.functional.one_hot(chosen[:, 0], EXPERTS).sum(0).tolist()
        return gates, chosen[:, 0].argsort(stable=True), sizes


class Mixture(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.router = Router()
        self.experts = nn.ModuleList(nn.Linear(WIDTH, WIDTH) for _ in range(EXPERTS))

    def forward(self, x: Tensor) -> Tensor:
        flat = x.flatten(0, 1)
        gates, order, sizes = self.router(flat)
        parts = zip(self.experts, flat[order].split(sizes), strict=True)
        made = torch.cat([expert(part).tanh() for expert, part in parts])
        return (torch.zeros_like(flat).index_add(0, order, made) * gates).view_as(x)


class Looping(nn.Module):
    """Loops over the experts that were hit, as that of LongcatFlash does."""

    def __init__(self) -> None:
        super().__init__()
        self.router = nn.Linear(WIDTH, EXPERTS)
        self.experts = nn.ModuleList(nn.Linear(WIDTH, WIDTH) for _ in range(EXPERTS))

    def forward(self, x: Tensor) -> Tensor:
        out, chosen = torch.zeros_like(x), self.router(x).topk(1).indices[..., 0]
        for one in chosen.unique():
            hit = chosen == int(one)
            out[hit] = self.experts[int(one)](x[hit])
        return out


class Deciding(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x * x.sum().item()


class Network(nn.Module):
    def __init__(self, *mixtures: nn.Module) -> None:
        super().__init__()
        self.embed = nn.Embedding(20, WIDTH)
        self.mixtures = nn.ModuleList(mixtures)
        self.norms = nn.ModuleList(nn.LayerNorm(WIDTH) for _ in mixtures)
        self.head = nn.Linear(WIDTH, 20)

    def forward(self, ids: Tensor) -> Tensor:
        x = self.embed(ids)
        for norm, mixture in zip(self.norms, self.mixtures, strict=True):
            x = x + mixture(norm(x))
        return self.head(x)


def ids(seed: int, rows: int = 2) -> Tensor:
    return torch.randint(0, 20, (rows, 5), generator=torch.Generator().manual_seed(seed))


def built(*kinds: type[nn.Module]) -> nn.Module:
    torch.manual_seed(0)
    return Network(*(kind() for kind in kinds)).eval()


@pytest.mark.parametrize("kind", [Mixture, Looping])
def test_each_is_a_block_whatever_is_chosen(kind: type[nn.Module]) -> None:
    model: Any = built(kind, kind)
    net = ensembles.decompose(model, ids(0))
    assert net.names == ("mixtures.0", "mixtures.1")
    assert [block.kind for block in net] == ["residual"] * 2
    for seed in range(1, 6):  # others are chosen each time
        batch = ids(seed, rows=seed)
        with torch.no_grad():
            assert torch.allclose(net(batch), model(batch), atol=1e-5)
    frame = ensembles.lesion(net, ids(9, rows=6), [Delete((1,)), Delete((2,))])
    direct = ensembles.lesion(net, ids(9, rows=6), [Delete((1,)), Delete((2,))], engine="direct")
    for place in (1, 2):
        hook = model.mixtures[place - 1].register_forward_hook(lambda _m, _a, out: out * 0)
        with torch.no_grad():
            logits = model(ids(9, rows=6))[:, :-1].flatten(0, 1)
        hook.remove()
        right = ids(9, rows=6)[:, 1:].flatten()
        assert frame["correct"][place] == int((logits.argmax(-1) == right).sum())
        assert frame["correct"][place] == direct["correct"][place]
        loss = nn.functional.cross_entropy(logits, right).item()
        assert frame["loss"][place] == pytest.approx(loss, abs=1e-5)


def test_the_lengths_of_paths_through_them_add_up() -> None:
    net = ensembles.decompose(built(Mixture, Looping), ids(0))
    spectrum = ensembles.paths(net, ids(3), images=2, signs=0)
    assert spectrum["length"].tolist() == [0, 1, 2]


def test_other_decisions_on_the_data_stay_refused() -> None:
    with pytest.raises(DecompositionError, match="decides on the data in mixtures"):
        ensembles.decompose(built(Mixture, Deciding), ids(0))
