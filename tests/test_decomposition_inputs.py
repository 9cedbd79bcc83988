"""Networks of any input are taken apart: series, tables, volumes, ids, several tensors at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from test_decomposition_roads import seeded
from torch import Tensor, nn

from ensembles.decomposition import Decomposition, decompose, trace
from ensembles.decomposition.inputs import called, cloned, placed, rows_of, shapes_of, take
from ensembles.errors import DecompositionError, LesionError, PathError
from ensembles.unravelling.linearization import Linearizer

WORDS = 11


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def ids(*shape: int, seed: int = 0, below: int = WORDS) -> Tensor:
    return torch.randint(below, shape, generator=torch.Generator().manual_seed(seed))


class Spatial(nn.Module):
    """A small residual network of series (one dimension), images, or volumes."""

    def __init__(self, dimensions: int) -> None:
        super().__init__()
        conv = getattr(nn, f"Conv{dimensions}d")
        norm = getattr(nn, f"BatchNorm{dimensions}d")
        self.stem = conv(2, 4, 3, padding=1)
        self.blocks = nn.ModuleList(
            nn.Sequential(conv(4, 4, 3, padding=1), norm(4), nn.ReLU(), conv(4, 4, 1))
            for _ in range(3)
        )
        self.head = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for block in self.blocks:
            x = F.relu(x + block(x))
        return self.head(x.flatten(2).mean(-1))


class Chain(nn.Module):
    """Convolutions one after the other that change shape and width, in one dimension."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.Sequential(
            nn.Conv1d(2, 4, 3, padding=1), nn.ReLU(), nn.Conv1d(4, 6, 3, 2, 1), nn.ReLU()
        )
        self.head = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.blocks(x).mean(-1))


class Table(nn.Module):
    """A residual network of columns; its first layers add to what they read."""

    def __init__(self, dense: bool = False) -> None:
        super().__init__()
        widths = ((5, 3), (8, 3), (11, 3)) if dense else ((5, 5),) * 3
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.Linear(n, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Linear(6, m))
            for n, m in widths
        )
        self.dense, self.head = dense, nn.Linear(14 if dense else 5, 4)

    def forward(self, x: Tensor) -> Tensor:
        for block in self.blocks:
            x = torch.cat([x, block(x)], -1) if self.dense else x + block(x)
        return self.head(x)


class Language(nn.Module):
    """A decoder: ids (N, T) to logits (N, T, words), attention and MLP blocks, tied weights."""

    def __init__(self, width: int = 8, layers: int = 2) -> None:
        super().__init__()
        self.words, self.places = nn.Embedding(WORDS, width), nn.Embedding(16, width)
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(width, 2, 12, batch_first=True, norm_first=True)
            for _ in range(layers)
        )
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, WORDS, bias=False)
        self.head.weight = self.words.weight

    def forward(self, input_ids: Tensor, weight: Tensor | None = None) -> Tensor:
        length = input_ids.shape[1]
        x = self.words(input_ids) + self.places(torch.arange(length))
        if weight is not None:
            x = x * weight[..., None]
        mask = torch.triu(torch.full((length, length), -torch.inf), 1)
        for layer in self.layers:
            x = layer(x, src_mask=mask)
        return self.head(self.norm(x))


class Columns(nn.Module):
    """Ids of columns with different numbers of values: turned round, they are out of range."""

    def __init__(self) -> None:
        super().__init__()
        self.embeddings = nn.ModuleList([nn.Embedding(2, 4), nn.Embedding(9, 4)])
        self.layer, self.head = nn.Linear(8, 8), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        y = torch.cat([one(x[:, i]) for i, one in enumerate(self.embeddings)], 1)
        return self.head(y + self.layer(y).relu())


class Two(nn.Module):
    """An image and a table; the table is read at the start, or again at the end."""

    def __init__(self, late: bool = False) -> None:
        super().__init__()
        self.image, self.table = nn.Conv2d(3, 4, 3, padding=1), nn.Linear(5, 4)
        self.blocks = nn.ModuleList(nn.Conv2d(4, 4, 3, padding=1) for _ in range(3))
        self.late, self.head = late, nn.Linear(4, 7)

    def forward(self, image: Tensor, table: Tensor) -> Tensor:
        added = self.table(table)
        x = self.image(image)
        x = x if self.late else x + added[:, :, None, None]
        for block in self.blocks:
            x = x + F.relu(block(x))
        x = x.mean((2, 3))
        return self.head(x + added if self.late else x)


class Measured(nn.Module):
    """It makes a table of sizes from the batch, from a tensor that is not the first."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(4, 4) for _ in range(2))

    def forward(self, unused: Tensor, x: Tensor) -> Tensor:
        x = x.reshape(x.shape[0] * 3, 4) + torch.zeros(x.shape[0] * 3, 4)
        for layer in self.layers:
            x = x + layer(x).tanh()
        return x.reshape(-1, 3, 4).mean(1)


class Answers(nn.Module):
    """An answer for each of four places of a series."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.head = nn.Linear(5, 5), nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(x + self.layer(x).relu())


RESIDUAL, SERIES = "residual", (2, 9)
CASES: dict[str, tuple[Callable[[], nn.Module], Callable[[int, int], Any], list[str]]] = {
    "series": (lambda: Spatial(1), lambda n, s: random(n, *SERIES, seed=s), [RESIDUAL] * 3),
    "images": (lambda: Spatial(2), lambda n, s: random(n, 2, 5, 5, seed=s), [RESIDUAL] * 3),
    "volumes": (lambda: Spatial(3), lambda n, s: random(n, 2, 3, 4, 5, seed=s), [RESIDUAL] * 3),
    "plain series": (Chain, lambda n, s: random(n, *SERIES, seed=s), ["plain"] * 3),
    "table": (Table, lambda n, s: random(n, 5, seed=s), [RESIDUAL] * 3),
    "dense table": (lambda: Table(True), lambda n, s: random(n, 5, seed=s), ["dense"] * 3),
    "ids": (Language, lambda n, s: ids(n, 6, seed=s), [RESIDUAL] * 4),
    "columns": (Columns, lambda n, s: torch.stack([ids(n, seed=s, below=2),
                                                   ids(n, seed=s, below=9)], 1), [RESIDUAL]),
    "tuple": (Two, lambda n, s: (random(n, 3, 6, 6, seed=s), random(n, 5, seed=s)),
              [RESIDUAL] * 3),
    "keywords": (Two, lambda n, s: {"table": random(n, 5, seed=s), "image": random(n, 3, 6, 6)},
                 [RESIDUAL] * 3),
    "ids and weights": (Language, lambda n, s: {"input_ids": ids(n, 6, seed=s),
                                                "weight": random(n, 6, seed=s)}, [RESIDUAL] * 4),
    "late": (lambda: Two(True), lambda n, s: (random(n, 3, 6, 6, seed=s), random(n, 5, seed=s)),
             [RESIDUAL] * 3),
    "answers": (Answers, lambda n, s: random(n, 4, 5, seed=s), [RESIDUAL]),
    "sizes": (Measured, lambda n, s: (random(n, 2), random(n, 12, seed=s)), [RESIDUAL] * 2),
}  # fmt: skip


def check(net: Decomposition, model: nn.Module, inputs: Any) -> None:
    with torch.no_grad():
        expected = called(model, inputs)
        torch.testing.assert_close(net(inputs), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("rows", [1, 4])
@pytest.mark.parametrize("case", CASES)
def test_what_a_network_takes(case: str, rows: int) -> None:
    make, inputs, kinds = CASES[case]
    model, example = seeded(make), inputs(rows, 0)
    before = cloned(example)
    net = decompose(model, example)
    assert [block.kind for block in net] == kinds
    assert net.input_shape == shapes_of(example)
    with torch.no_grad():
        assert net.output_shape == called(model, example).shape[1:]
    assert net.num_classes == net.output_shape[-1]
    for count in (1, 2, 3, 5):
        check(net, model, inputs(count, 7))
    torch.testing.assert_close(example, before)  # nothing was written into it


def test_names_and_shapes_of_several_inputs() -> None:
    model = seeded(Two)
    image, table = random(2, 3, 6, 6), random(2, 5)
    net = decompose(model, (image, table))
    assert (net.input_shape, net.input_names) == (((3, 6, 6), (5,)), ("1", "2"))
    net = decompose(model, {"table": table, "image": image})
    assert (net.input_shape, net.input_names) == (((5,), (3, 6, 6)), ("table", "image"))
    assert decompose(seeded(Language), ids(2, 6)).input_names == ()


@settings(max_examples=12, deadline=None)
@given(st.sampled_from(["series", "volumes", "table", "ids", "keywords", "dense table"]),
       st.integers(0, 50))  # fmt: skip
def test_deletions_are_what_an_edited_network_gives(case: str, seed: int) -> None:
    make, inputs, kinds = CASES[case]
    model, batch = seeded(make), inputs(3, seed)
    net = decompose(model, inputs(2, 1))
    index = 1 + seed % len(kinds)
    name = net.block(index).name
    edited = seeded(make)
    silence(edited, index, name)
    with torch.no_grad():
        x = net.stem(batch)
        for block in net:
            x = block.deleted(x) if block.index == index else block(x)
        torch.testing.assert_close(net.head(x), called(edited, batch), rtol=1e-4, atol=1e-5)


def silence(model: nn.Module, index: int, name: str) -> None:
    """Let the last layer of a branch give noughts."""
    layers = getattr(model, "blocks", None)
    if layers is None:  # a transformer: attention and MLP are blocks of their own
        layer = model.layers[(index - 1) // 2]
        last = layer.linear2 if index % 2 == 0 else layer.self_attn.out_proj
    else:
        last = layers[index - 1]
        last = last[-1] if isinstance(last, nn.Sequential) else last
    assert name
    with torch.no_grad():
        for parameter in last.parameters():
            parameter.zero_()


def test_exported_models_with_several_inputs(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a recording cannot follow is exported, keywords in any order."""

    class Hidden(Two):
        def forward(self, image: Tensor, table: Tensor) -> Tensor:
            shifted = image.clone()
            shifted.transpose(2, 3).mul_(2)  # a view of what it overwrites
            return super().forward(shifted, table)

    exports: list[nn.Module] = []
    export = trace._exported
    monkeypatch.setattr(
        trace, "_exported", lambda model, rows: exports.append(model) or export(model, rows)
    )
    model = seeded(Hidden)
    image, table = random(2, 3, 6, 6), random(2, 5)
    for example in ((image, table), {"table": table, "image": image}):
        net = decompose(model, example)
        assert len(net) == 3 and len(exports) == 2
        exports.clear()
        check(net, model, take(example, torch.tensor([1, 0, 1])))


@pytest.mark.parametrize("several", [False, True])
def test_rows_that_influence_each_other(several: bool) -> None:
    class Mixing(Language):
        def forward(self, input_ids: Tensor, weight: Tensor | None = None) -> Tensor:
            out = super().forward(input_ids, weight)
            return out + out.mean(0)

    model = seeded(Mixing)
    for rows in (1, 3):
        example: Any = ids(rows, 6)
        example = (example, random(rows, 6)) if several else example
        with pytest.raises(DecompositionError, match="other logits for an input when another one"):
            decompose(model, example)


def test_chance_is_found_for_ids() -> None:
    class Random(Language):
        def forward(self, input_ids: Tensor, weight: Tensor | None = None) -> Tensor:
            return super().forward(input_ids, weight) + torch.rand(WORDS)

    with pytest.raises(DecompositionError, match="for the same input when it runs again"):
        decompose(seeded(Random), ids(2, 6))


class Wrong(nn.Module):
    """It returns what is no logits."""

    def __init__(self, out: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.out, self.layer = out, nn.Linear(5, 5)

    def forward(self, x: Tensor) -> Any:
        return self.out(x + self.layer(x))


@pytest.mark.parametrize(
    ("out", "message"),
    [
        (
            lambda y: y.sum(1),
            "returns a tensor of shape (2,); expected logits of shape (2, c",
        ),
        (lambda y: (y.argmax(1), 3), "returns a tuple; expected logits"),
        (lambda y: {"scores": y[:1]}, "returns a dict; expected logits"),
        (lambda y: y.T, "returns a tensor of shape (5, 2); expected logits of shape (2, classes)"),
        (lambda y: y.argmax(1, keepdim=True), "returns numbers of type torch.int64"),
        (lambda y: y[:, :0], "returns a tensor of shape (2, 0)"),
    ],
)
def test_outputs_that_are_no_logits(out: Callable[[Tensor], Any], message: str) -> None:
    with pytest.raises(DecompositionError) as caught:
        decompose(Wrong(out), random(2, 5))
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("example", "found"),
    [
        (random(3), "a tensor of shape (3,)"),
        (random(0, 3), "a tensor of shape (0, 3)"),
        ([], "an empty list"),
        ({}, "an empty dict"),
        ("images", "a str"),
        (None, "a NoneType"),
        ({"x": 1}, "a dict of int"),
        ((random(2, 5), None), "a tuple of Tensor and NoneType"),
        ({1: random(2, 5)}, "a dict with a key of type int"),
        ((random(2, 5), torch.tensor(1.0)), "tensors of shape (2, 5) and ()"),
    ],
)
def test_examples_that_are_none(example: Any, found: str) -> None:
    with pytest.raises(DecompositionError) as caught:
        decompose(Table(), example)
    assert str(caught.value).startswith(f"the example is {found}; expected a tensor with the rows")


@pytest.mark.parametrize(
    ("example", "message"),
    [
        ((random(2, 5), random(3, 5)), "hold 2 rows (1), 3 rows (2); expected as many of each"),
        ({"z": random(2, 5)}, "Table does not accept tensors of shape (2, 5): "),
        ((random(2, 5), random(2, 5)), "does not accept tensors of shape (2, 5) and (2, 5): "),
        (ids(2, 5), "Table does not accept an input of shape (2, 5): "),
        (random(2, 7), "give inputs that it was made for"),
    ],
)
def test_inputs_that_do_not_fit(example: Any, message: str) -> None:
    with pytest.raises(DecompositionError) as caught:
        decompose(Table(), example)
    assert message in str(caught.value)


def test_an_input_that_is_read_everywhere_is_read_beside_the_blocks() -> None:
    model, example = seeded(lambda: Two(True)), (random(2, 3, 6, 6), random(2, 5))
    net = decompose(model, example)
    assert [block.kind for block in net] == ["residual"] * 3 and net.is_nested
    check(net, model, take(example, torch.tensor([1, 0, 1])))
    chain = decompose(model, example, nested=False)
    assert [block.kind for block in chain] == ["plain"]  # the head alone comes after both
    with pytest.raises(LesionError, match="has no shortcut"):
        chain.block(1).scaled(0.5)


@pytest.mark.parametrize(
    ("case", "message"),
    [
        (
            "tuple",
            "Two has 2 inputs; paths are followed to one tensor of real numbers, so hold the",
        ),
        ("columns", "Columns takes numbers of type torch.int64, which have no derivative"),
        ("answers", r"Answers gives logits of shape \(4, 3\) for a row; expected one answer a row"),
    ],
)
def test_paths_need_one_start_and_one_end(case: str, message: str) -> None:
    make, inputs, _ = CASES[case]
    with pytest.raises(PathError, match=message):
        Linearizer(decompose(seeded(make), inputs(2, 0)))


def test_helpers() -> None:
    several = {"ids": ids(4, 3), "x": random(4, 2)}
    assert rows_of(several) == 4
    picked = take(several, slice(1, 3))
    assert isinstance(picked, dict)
    assert torch.equal(picked["ids"], several["ids"][1:3])
    moved = placed((several["ids"], several["x"]), "cpu", torch.bfloat16)
    assert [part.dtype for part in moved] == [torch.int64, torch.bfloat16]
