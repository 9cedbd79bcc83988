"""Which rows an analysis takes where it takes some of them only."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.utils.data import TensorDataset

import ensembles
from ensembles.analyses.some_rows import some_rows
from ensembles.data.texts import BYTES, LabelledText
from ensembles.errors import DataError


def test_data_of_ours_stay_what_they_are() -> None:
    ids = torch.arange(20).reshape(10, 2)
    labelled = LabelledText(
        "x", "test", ids, torch.ones_like(ids), labels=torch.arange(10), classes=("a",) * 10,
        named=False, cut=0, tokenizer=BYTES,
    )  # fmt: skip
    ours: list[Any] = [
        labelled, ensembles.dataset("digits", limit=10), ensembles.dataset("prose", limit=10),
    ]  # fmt: skip
    for data in ours:
        some = some_rows(data, 4, "depth")
        assert type(some) is type(data) and len(some) == 4
        assert some_rows(data, 0, "depth") is data and some_rows(data, 10, "depth") is data
    assert some_rows(labelled, 4, "depth").labels.tolist() == [0, 2, 5, 7]


def test_other_data_are_spread_too_and_lists_are_whole() -> None:
    data = TensorDataset(torch.arange(10), torch.arange(10))
    assert [int(x) for x, _ in some_rows(data, 4, "depth")] == [0, 2, 5, 7]
    batches = [(torch.zeros(3), torch.zeros(3))]
    assert some_rows(batches, 1, "depth") is batches
    with pytest.raises(DataError, match="read only once, and depth reads them several times"):
        some_rows(iter(batches), 1, "depth")
