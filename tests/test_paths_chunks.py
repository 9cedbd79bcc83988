"""Rows are worked on together or one by one: it shows in time alone."""

from __future__ import annotations

import pytest
import torch

import ensembles
from ensembles.data import ImageDataset
from ensembles.decomposition import Decomposition
from ensembles.unravelling import length_rows
from ensembles.unravelling.length_rows import chunks, ranges


@pytest.fixture(scope="module")
def small() -> tuple[Decomposition, ImageDataset]:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = ensembles.create_model("preresnet20", num_classes=10)
    data = ensembles.dataset("digits", split="test", limit=2)
    return ensembles.decompose(model, next(data.batches(2))[0]), data


@pytest.mark.parametrize(
    "options",
    [
        {"method": "all", "signs": 2, "samples": 3},
        {"direction": "logits"},
    ],
    ids=["gradient", "logits"],
)
def test_spectra_do_not_depend_on_how_many_rows_are_together(
    small: tuple[Decomposition, ImageDataset],
    monkeypatch: pytest.MonkeyPatch,
    options: dict[str, object],
) -> None:
    net, data = small
    tables = []
    for together in (1, 2**40):
        monkeypatch.setitem(length_rows.AT_ONCE, "cpu", together)
        found = ensembles.paths(net, data, device="cpu", progress=False, **options)  # type: ignore[arg-type]
        tables.append(found.select_dtypes("number").to_numpy(float))
    assert tables[0] == pytest.approx(tables[1], rel=1e-4, nan_ok=True)


def test_a_gpu_works_on_more_rows_together() -> None:
    row = torch.zeros(2**18)  # a MiB
    assert list(chunks(5, row)) == [(0, 2), (2, 4), (4, 5)]
    assert list(chunks(5, row, 2, last_first=True))[:2] == [(4, 5), (3, 4)]
    assert length_rows.AT_ONCE["cuda"] > length_rows.AT_ONCE["cpu"]
    assert list(ranges(3, 10, 1)) == [(0, 1), (1, 2), (2, 3)]
    assert list(ranges(3, 10, 1000)) == [(0, 3)]
