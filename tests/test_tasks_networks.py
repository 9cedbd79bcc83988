"""Tasks end to end, on small networks: language, and classification of any inputs."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from test_metrics import oracle
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import ensembles
from ensembles.decomposition import Decomposition
from ensembles.engine import evaluate
from ensembles.errors import DataError, UsageError
from ensembles.lesions import Delete, Intact, Lesion, Scale
from ensembles.metrics import METRICS
from ensembles.tasks import task_of

VOCABULARY, WINDOW = 11, 6


class Layer(nn.Module):
    """Attention and then an MLP, each added to the stream."""

    def __init__(self, width: int, heads: int = 2) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)

    def attend(self, x: Tensor) -> Tensor:
        parts = self.qkv(x).chunk(3, -1)
        q, k, v = (part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in parts)
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.out(mixed.transpose(1, 2).flatten(2))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attend(self.norm1(x))
        return x + self.down(F.gelu(self.up(self.norm2(x))))


class Transformer(nn.Module):
    """A language model with random weights: ids (N, T) in, logits (N, T, vocabulary) out."""

    def __init__(self, width: int = 8, layers: int = 2) -> None:
        super().__init__()
        self.token = nn.Embedding(VOCABULARY, width)
        self.place = nn.Parameter(torch.randn(WINDOW, width))
        self.layers = nn.Sequential(*(Layer(width) for _ in range(layers)))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, VOCABULARY, bias=False)

    def forward(self, ids: Tensor) -> Tensor:
        return self.head(self.norm(self.layers(self.token(ids) + self.place)))


class Residual(nn.Module):
    """Two residual blocks of one kind of layer between a first layer and a classifier."""

    def __init__(self, layer: Callable[[int, int], nn.Module], channels: int) -> None:
        super().__init__()
        self.first, self.head = layer(channels, 6), nn.Linear(6, 5)
        self.layers = nn.ModuleList([layer(6, 6), layer(6, 6)])

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        for one in self.layers:
            x = x + torch.relu(one(x))
        return self.head(x.flatten(2).mean(-1) if x.ndim > 2 else x)


class TwoInputs(nn.Module):
    """A classifier of a table's line and of an id."""

    def __init__(self) -> None:
        super().__init__()
        self.rows, self.kind = nn.Linear(4, 6), nn.Embedding(3, 6)
        self.layers, self.head = nn.ModuleList([nn.Linear(6, 6) for _ in range(3)]), nn.Linear(6, 5)

    def forward(self, rows: Tensor, kind: Tensor) -> Tensor:
        x = self.rows(rows) + self.kind(kind)
        for one in self.layers:
            x = x + torch.relu(one(x))
        return self.head(x)


def seeded(make: Callable[[], nn.Module]) -> nn.Module:
    """A network whose weights do not depend on the tests before it."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return make().eval()


@pytest.fixture(scope="module")
def transformer() -> tuple[Transformer, Decomposition, Tensor]:
    model = seeded(Transformer)
    assert isinstance(model, Transformer)
    ids = torch.randint(0, VOCABULARY, (5, WINDOW), generator=torch.Generator().manual_seed(1))
    return model, ensembles.decompose(model, ids[:3]), ids


class TestLanguage:
    sweep: tuple[Lesion, ...] = (Intact(), Delete((1,)), Delete((2, 3)), Scale((4,), 0.5))

    def edited(self, model: Transformer, lesion: Lesion) -> Transformer:
        """The same by hand: what closes a branch is scaled."""
        twin = copy.deepcopy(model)
        ends = [end for layer in twin.layers for end in (layer.out, layer.down)]
        for block in lesion.blocks:
            ends[block - 1].weight.data *= 0.5 if isinstance(lesion, Scale) else 0
            ends[block - 1].bias.data *= 0.5 if isinstance(lesion, Scale) else 0
        return twin

    @pytest.mark.parametrize("engine", ["prefix", "level", "direct"])
    @pytest.mark.parametrize("size", [1, 2, 5, 64])
    def test_correct_total_and_loss_count_tokens(
        self, transformer: tuple[Transformer, Decomposition, Tensor], engine: str, size: int
    ) -> None:
        model, net, ids = transformer
        assert task_of(net).name == "language"
        names = ("top1", "loss", "perplexity", "kl", "agreement", "classes")
        found = evaluate(
            net, ids, self.sweep, metrics=names, engine=engine, batch_size=size, predictions=True
        )
        intact = model(ids)[:, :-1].flatten(0, 1)
        for outcome in found:
            logits = self.edited(model, outcome.lesion)(ids)[:, :-1].flatten(0, 1)
            wanted = oracle(logits.detach(), ids[:, 1:].flatten(), intact.detach())
            assert outcome.total == 5 * (WINDOW - 1)
            row = outcome.row(names)
            for name in ("correct", "class_correct"):
                assert row[name] == wanted[name]
            for name in ("error", "loss", "perplexity", "kl", "agreement"):
                assert row[name] == pytest.approx(wanted[name], rel=1e-4, abs=1e-5), name
            assert outcome.predictions is not None
            assert outcome.predictions.tolist() == logits.argmax(-1).tolist()
        assert found[0].row("kl")["kl"] == 0

    def test_data_of_all_forms(
        self, transformer: tuple[Transformer, Decomposition, Tensor]
    ) -> None:
        _, net, ids = transformer
        expected = evaluate(net, ids, self.sweep)
        for data in (TensorDataset(ids), list(ids), [{"input_ids": ids}], iter([ids[:2], ids[2:]])):
            assert evaluate(net, data, self.sweep, batch_size=5) == expected

    def test_a_table_of_lesions(
        self, transformer: tuple[Transformer, Decomposition, Tensor]
    ) -> None:
        _, net, ids = transformer
        frame = ensembles.lesion(net, ids, metrics=("top1", "loss", "perplexity", "kl"))
        assert frame.lesion.tolist() == ["none"] + ["delete"] * 4
        assert frame.total.tolist() == [5 * (WINDOW - 1)] * 5
        assert frame.perplexity.tolist() == pytest.approx([math.exp(x) for x in frame.loss])
        assert frame.kl[0] == 0 < min(frame.kl[1:])

    def test_refusals(self, transformer: tuple[Transformer, Decomposition, Tensor]) -> None:
        _, net, ids = transformer
        with pytest.raises(DataError, match="windows have 5 tokens; the network was taken apart f"):
            evaluate(net, ids[:, 1:], self.sweep)
        with pytest.raises(DataError, match="have the token 12, the network a vocabulary of 11"):
            evaluate(net, ids + 2, self.sweep)
        with pytest.raises(UsageError, match="the task 'classification' is for networks with log"):
            evaluate(net, ids, self.sweep, task="classification")


def conv(dimensions: int) -> Callable[[int, int], nn.Module]:
    kind = (nn.Conv1d, nn.Conv2d, nn.Conv3d)[dimensions - 1]
    return lambda c_in, c_out: kind(c_in, c_out, 3, padding=1)


class TestClassification:
    sweep: tuple[Lesion, ...] = (Intact(), Delete((1,)), Delete((1, 2)))

    @pytest.mark.parametrize(
        ("layer", "shape"),
        [
            (nn.Linear, (7,)),
            (conv(1), (2, 9)),
            (conv(2), (3, 4, 4)),
            (conv(3), (2, 3, 3, 3)),
        ],
        ids=["table", "series", "images", "volumes"],
    )
    def test_any_rank(self, layer: Any, shape: tuple[int, ...], generator: torch.Generator) -> None:
        model = seeded(lambda: Residual(layer, shape[0]))
        x = torch.randn(9, *shape, generator=generator)
        y = torch.randint(0, 5, (9,), generator=generator)
        net = ensembles.decompose(model, x)
        names = [name for name in METRICS.names() if not METRICS.get(name).tasks]
        found = evaluate(net, TensorDataset(x, y), self.sweep, metrics=names, batch_size=4)
        for outcome in found:
            twin = copy.deepcopy(model)
            for block in outcome.lesion.blocks:
                for values in twin.layers[block - 1].parameters():
                    values.data.zero_()
            row = outcome.row(names)
            for name, wanted in oracle(twin(x).detach(), y, model(x).detach()).items():
                if name != "perplexity":
                    exact = isinstance(wanted, list | int)
                    close = wanted if exact else pytest.approx(wanted, rel=1e-4, abs=1e-5)
                    assert row[name] == close, name
        assert [one.total for one in found] == [9] * 3

    @pytest.mark.parametrize("form", ["tuple", "mapping"])
    def test_several_inputs(self, form: str, generator: torch.Generator) -> None:
        model = seeded(TwoInputs)
        rows, kind = torch.randn(9, 4, generator=generator), torch.arange(9) % 3
        y = torch.randint(0, 5, (9,), generator=generator)
        whole: Any = (rows, kind) if form == "tuple" else {"rows": rows, "kind": kind}
        single: list[Any] = [
            ((a, b) if form == "tuple" else {"rows": a, "kind": b}, int(c))
            for a, b, c in zip(rows, kind, y, strict=True)
        ]
        net = ensembles.decompose(model, whole)
        found = evaluate(net, single, self.sweep, batch_size=4)
        assert found[0].correct == int((model(rows, kind).argmax(-1) == y).sum())
        for data in ([(whole, y)], DataLoader(single, batch_size=2), [{"inputs": whole, "y": y}]):
            again = evaluate(net, data, self.sweep, batch_size=4)
            assert [one.correct for one in again] == [one.correct for one in found]
        model.layers[0].weight.data.zero_()
        model.layers[0].bias.data.zero_()
        assert found[1].correct == int((model(rows, kind).argmax(-1) == y).sum())

    def test_refuses_other_inputs(self, generator: torch.Generator) -> None:
        rows, kind = torch.randn(4, 4, generator=generator), torch.arange(4) % 3
        net = ensembles.decompose(seeded(TwoInputs), (rows, kind))
        for inputs, message in (
            ((rows, kind.float()), "the input 2 is of type float32; .* for int64: convert the dat"),
            (rows, r"the inputs have shape \(4,\); .* apart for the shapes 1: \(4,\), 2: \(\): gi"),
            ({"rows": rows, "kind": kind}, r"shapes rows: \(4,\), kind: \(\); .* the shapes 1: "),
        ):
            with pytest.raises(DataError, match=message):
                evaluate(net, [(inputs, kind)], self.sweep)
