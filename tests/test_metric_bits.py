"""Bits a byte of the text."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch

import ensembles
from ensembles.errors import UsageError
from ensembles.metrics import METRICS, Answers

BITS: Any = METRICS.get("bits")


def test_it_is_the_loss_in_bits_over_the_bytes() -> None:
    suited = replace(BITS, bytes_per_token=2.0)
    even = Answers.of(torch.zeros(3, 8), torch.tensor([0, 1, 2]))
    state = suited.update(suited.zero(8), even)
    assert state.tolist() == pytest.approx([3 * math.log(8), 6.0])
    assert suited.row(suited.merge(state, state), 6)["bits"] == pytest.approx(1.5)
    assert suited.possible(state[None], None, None).tolist() == [True]
    assert BITS.row(BITS.zero(8), 1)["bits"] != BITS.row(BITS.zero(8), 1)["bits"]


def test_a_network_of_bytes_and_the_same_in_a_store(tmp_path: Any) -> None:
    torch.manual_seed(0)
    model = ensembles.create_model("gpt6", width=16, heads=2)
    data = ensembles.dataset("prose", window=16, limit=4)
    net = ensembles.decompose(model, data.windows)  # type: ignore[union-attr]
    frame = ensembles.lesion(net, data, metrics=("loss", "bits"))
    assert frame["bits"].tolist() == pytest.approx((frame["loss"] / math.log(2)).tolist())
    kept = ensembles.lesion(net, data, metrics=("loss", "bits"), store=tmp_path / "s.db")
    again = ensembles.lesion(net, data, metrics=("loss", "bits"), store=tmp_path / "s.db")
    assert kept["bits"].tolist() == again["bits"].tolist() == frame["bits"].tolist()
    assert again.attrs["store"]["measured"] == 0
    with pytest.raises(UsageError, match="bits a byte need the text, and the data hold ids"):
        ensembles.lesion(net, data.windows, metrics="bits")  # type: ignore[union-attr]
