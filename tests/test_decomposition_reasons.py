"""A model that is refused is refused with the cause."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import IO, Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.attention.flex_attention import flex_attention
from torch.nn.utils.rnn import pack_padded_sequence

from ensembles.catalogue.structure import describe
from ensembles.cli.inspect_ import _lines
from ensembles.decomposition import decompose
from ensembles.errors import DecompositionError

ROWS = torch.randn(4, 5, generator=torch.Generator().manual_seed(0))


class Model(nn.Module):
    """Two residual blocks."""

    def __init__(self) -> None:
        super().__init__()
        self.layers, self.head = nn.ModuleList(nn.Linear(5, 5) for _ in range(2)), nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = x + torch.tanh(layer(x))
        made: Tensor = self.head(x)
        return made


class Squeezed(Model):
    """Takes away all dimensions of length 1, that of a row alone too."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x[..., None].squeeze())


class Cached(Model):
    """Adds what it was given the time before."""

    def __init__(self) -> None:
        super().__init__()
        self.past = torch.zeros(())

    def forward(self, x: Tensor) -> Tensor:
        before, self.past = self.past, x.detach()[:, 0].mean()
        return super().forward(x + before)


class Packed(Model):
    """Runs an LSTM on packed rows."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(1, 5, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        lengths = torch.full((len(x),), 5)
        rows = pack_padded_sequence(x[..., None], lengths, batch_first=True)
        return super().forward(self.lstm(rows)[1][0][-1])


class Flexible(Model):
    """Attends over numbers of a row by torch's flex_attention, as it is given to be compiled."""

    def forward(self, x: Tensor) -> Tensor:
        tokens = x[:, None, :, None].expand(-1, -1, -1, 16)
        mixed = flex_attention(tokens, tokens, tokens, score_mod=lambda s, b, h, q, k: s + q - k)
        assert isinstance(mixed, Tensor)
        return super().forward(mixed.mean((1, 3)))


def first_runs(model: Model) -> Model:
    """Another forward for the first three runs."""
    count = [0]

    def changed(_module: nn.Module, _args: Any, out: Tensor) -> Tensor:
        count[0] += 1
        return out * (1.5 if count[0] <= 3 else 1)

    model.layers[1].register_forward_hook(changed)
    return model


def used(model: Model) -> Model:
    """A model that has run on these rows before."""
    model(ROWS)
    return model


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        (Squeezed(), r"gives a tensor of shape \(3,\) for one row alone, and of \(4, 3\) for 4; .*"
                     r"let squeeze\(\) say which dimensions"),
        (first_runs(Model()), r"keeps something .* \(its first runs differ from those after them"),
        (used(Cached()), r"it keeps something from one run to the next \("),
        (Packed(), r"it packs sequences of several lengths .* give the padded rows"),
        (Flexible(), r"it calls flex_attention, .* let it call scaled_dot_product_attention"),
    ],
    ids=["squeeze", "first runs", "cache", "packed", "flex_attention"],
)  # fmt: skip
def test_the_cause_is_named(model: Model, reason: str) -> None:
    with pytest.raises(DecompositionError, match=reason):
        decompose(model.eval(), ROWS)


class Gated(Model):
    """A GRU cell joins each branch and what is carried (as in Parisotto et al. 2019)."""

    def __init__(self) -> None:
        super().__init__()
        self.gates = nn.ModuleList(nn.GRUCell(5, 5) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        for layer, gate in zip(self.layers, self.gates, strict=True):
            x = gate(torch.tanh(layer(x)), x)
        made: Tensor = self.head(x)
        return made


class Several(Model):
    """Gives its features before its logits."""

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        x = x + torch.tanh(self.layers[0](x))
        return x, self.head(x)


def test_what_a_reader_should_know_stands_below_the_blocks() -> None:
    net = decompose(Gated().eval(), ROWS)
    assert [block.kind for block in net] == ["plain"] * 3 and net.uncut[0].startswith("gates.0 (")
    note = "sums may lie in what could not be cut into blocks too: in gates.0 (GRUCell, which joins"
    assert repr(net).splitlines()[-1].startswith(note) and note in net._repr_html_()
    net = decompose(Several().eval(), ROWS)
    note = "the model gives several outputs; number 1 is taken as its logits"
    assert repr(net).splitlines()[-1] == note and note in [*_lines(describe(net))]


class Holding(Model):
    """Holds what cannot be copied: a lock, a file, an iterator, the lock of a mapping."""

    def __init__(self, file: IO[str]) -> None:
        super().__init__()
        self.lock, self.file, self.numbers = threading.Lock(), file, (n for n in range(3))
        self.more = {"lock": threading.Lock(), "list": [threading.Lock()]}

    def forward(self, x: Tensor) -> Tensor:
        with self.lock, self.more["list"][0]:  # type: ignore[index]
            return super().forward(x)


def test_what_cannot_be_copied_is_shared(tmp_path: Path) -> None:
    with (tmp_path / "log").open("w", encoding="utf-8") as file:
        model = Holding(file).eval()
        net = decompose(model, ROWS)
        assert len(net) == 2 and not model.lock.locked()
        torch.testing.assert_close(net(ROWS), model(ROWS))
