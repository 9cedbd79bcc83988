"""Logits of tokens in pieces, and products by another library: the same counts as by the oracle."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import ensembles
from ensembles.engine import cpu_products, evaluation
from ensembles.engine.token_heads import answers_each_alone
from ensembles.lesions import Delete, Intact
from ensembles.tasks import later_logits

METRICS = ("top1", "loss", "top5", "kl", "agreement", "perplexity", "places")


def built(**options: Any) -> nn.Module:
    torch.manual_seed(0)
    return ensembles.create_model("gpt6", num_classes=60, width=32, heads=2, **options).eval()


def ids(rows: int, seed: int = 0) -> Tensor:
    return torch.randint(0, 60, (rows, 12), generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def in_pieces(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Logits are made of five tokens at a time, however few there are; the sizes of the pieces."""
    monkeypatch.setattr(evaluation, "_MANY", 1)
    monkeypatch.setattr(later_logits, "_AT_ONCE", 5)
    seen: list[int] = []
    whole = later_logits.LaterLogits.pieces

    def counted(self: Any, states: Tensor) -> Any:
        for part, logits in whole(self, states):
            seen.append(len(logits))
            yield part, logits

    monkeypatch.setattr(later_logits.LaterLogits, "pieces", counted)
    return seen


def same(net: Any, data: Any, **options: Any) -> None:
    lesions = [Intact(), *(Delete((k,)) for k in (1, 4, 6))]
    frame = ensembles.lesion(net, data, lesions, metrics=METRICS, **options)
    oracle = ensembles.lesion(net, data, lesions, metrics=METRICS, engine="direct", **options)
    for name in ("correct", "total", "top5", "agreement"):
        assert frame[name].tolist() == oracle[name].tolist(), name
    for name in ("loss", "kl", "perplexity"):
        assert frame[name].tolist() == pytest.approx(oracle[name].tolist(), abs=1e-5), name
    assert frame["kl"][0] == 0
    for found, wanted in zip(frame["place_total"], oracle["place_total"], strict=True):
        assert list(found) == list(wanted)


def test_windows(in_pieces: list[int]) -> None:
    same(ensembles.decompose(built(), ids(2)), ids(4))
    assert set(in_pieces) == {5, 1}


def test_padding_and_masked_tokens_alone_are_asked_for(in_pieces: list[int]) -> None:
    net = ensembles.decompose(built(), ids(2))
    labels = torch.full((3, 12), -100)
    labels[0, 3], labels[1, 5:11], labels[2, 11] = 7, 8, 9
    batch = {"input_ids": ids(3), "labels": labels}
    found = ensembles.lesion(net, [batch], [Delete((2,))], task="masked")
    oracle = ensembles.lesion(net, [batch], [Delete((2,))], task="masked", engine="direct")
    assert found["total"].tolist() == [8, 8]
    assert set(in_pieces) == {1, 5}
    assert found["correct"].tolist() == oracle["correct"].tolist()
    assert found["loss"].tolist() == pytest.approx(oracle["loss"].tolist(), abs=1e-5)


class Mixing(nn.Module):
    """A head in which a token answers by those before it too."""

    def forward(self, states: Tensor) -> Tensor:
        return states.cumsum(1)


class Written(nn.Module):
    """A head that is written for windows of one length."""

    def forward(self, states: Tensor) -> Tensor:
        return states.reshape(1, 12, 4)


@pytest.mark.parametrize(
    ("head", "alone"), [(nn.Linear(4, 7), True), (Mixing(), False), (Written(), False)]
)
def test_a_head_that_looks_at_the_window_is_run_on_all_of_it(head: nn.Module, alone: bool) -> None:
    with torch.no_grad():
        assert answers_each_alone(head, torch.randn(2, 12, 4)) is alone
        assert not answers_each_alone(head, (torch.randn(2, 12, 4), 1))


def test_large_products_on_the_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    if not cpu_products._is_there():
        pytest.skip("this torch was built without oneDNN")
    monkeypatch.setattr(cpu_products, "_LARGE", 1)
    monkeypatch.setattr(cpu_products.platform, "machine", lambda: "x86_64")
    calls: list[torch.Size] = []
    forward = cpu_products._Product.forward

    def counted(self: Any, x: Tensor) -> Tensor:
        calls.append(x.shape)
        return forward(self, x)

    monkeypatch.setattr(cpu_products._Product, "forward", counted)
    same(ensembles.decompose(built(), ids(2)), ids(4))
    assert calls
