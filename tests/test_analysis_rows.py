"""Which rows an analysis takes: some of them only, and none without a finite answer."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import TensorDataset

import ensembles
from ensembles.analyses.some_rows import some_rows
from ensembles.data.texts import BYTES, LabelledText
from ensembles.errors import DataError, EnsemblesError
from ensembles.plots.measures import counted
from ensembles.report.sections import section_of


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


@pytest.fixture(scope="module")
def net() -> Any:
    """Two blocks on vectors."""

    class Blocks(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem, self.head = nn.Linear(6, 4), nn.Linear(4, 3)
            self.layers = nn.ModuleList(nn.Linear(4, 4) for _ in range(2))

        def forward(self, x: Tensor) -> Tensor:
            x = self.stem(x)
            for layer in self.layers:
                x = x + torch.tanh(layer(x))
            return self.head(x)

    with torch.random.fork_rng():
        torch.manual_seed(0)
        return ensembles.decompose(Blocks().eval(), torch.randn(4, 6))


ROWS = torch.linspace(-1, 1, 24).sin().view(4, 6)
LABELS = torch.tensor([0, 1, 2, 0])
SMALL: dict[str, dict[str, Any]] = {"paths": {"signs": 2, "images": 4}}


@pytest.mark.parametrize("name", ["coupling", "diversity", "downstream", "influence", "refinement"])
def test_a_row_without_finite_logits_is_refused(net: Any, name: str) -> None:
    rows = ROWS.clone()
    rows[2] = torch.nan
    with pytest.raises(EnsemblesError, match="the intact network gives logits that are not finite"):
        ensembles.analyze(net, [(rows, LABELS)], name, progress=False)


@pytest.mark.parametrize("name", ["paths", "depth", "spectra", "refinement"])
def test_rows_of_inference_mode_are_rows(net: Any, name: str) -> None:
    with torch.inference_mode():
        rows = ROWS * 1
    asked = {"progress": False, **SMALL.get(name, {})}
    found, expected = (
        ensembles.analyze(net, [(given, LABELS)], name, **asked) for given in (rows, ROWS)
    )
    pd.testing.assert_frame_equal(found, expected)


@pytest.mark.parametrize("name", ["coupling", "refinement", "repair", "paths"])
def test_the_provenance_says_how_many_rows_were_used_and_of_how_many(name: str) -> None:
    model, _ = ensembles.load("vit12")
    data = ensembles.dataset("digits", split="test", limit=3)
    options: dict[str, Any] = {"images" if name == "paths" else "rows": 2}
    if name == "coupling":
        options |= {"positions": 1}
    made = ensembles.analyze(model, data, name, **options).attrs["provenance"]
    assert (made["images"], made["images_total"]) == (2, 3)
    assert "on digits (2 of 3 images)" in _told(made)


def test_all_rows_have_no_total_beside_them() -> None:
    model, _ = ensembles.load("vit12")
    data = ensembles.dataset("digits", split="test", limit=2)
    for made in (
        ensembles.analyze(model, data, "downstream").attrs["provenance"],
        ensembles.paths(model, data, direction="logits").attrs["provenance"],
    ):
        assert made["images"] == 2 and "images_total" not in made
        assert "(2 images)" in _told(made)


def test_windows_are_counted_as_images_are_and_an_option_of_that_name_hides_nothing() -> None:
    model, _ = ensembles.load("gpt12")
    data = ensembles.dataset("prose", limit=3, window=6)
    for frame in (
        ensembles.analyze(model, data, "spectra", rows=2, images=1, scales="1"),
        ensembles.paths(model, data, images=2),
    ):
        made = frame.attrs["provenance"]
        assert (made["windows"], made["windows_total"]) == (2, 3)
        assert "(2 of 3 windows)" in _told(made)


def test_a_report_of_an_older_table_counts_the_rows_that_it_was_made_of() -> None:
    made = {"dataset": "digits", "images": 359, "normalization": "digits"}
    assert "(64 of 359 images)" in _told(made, rows=64)
    assert "(359 images)" in _told(made, rows=359)
    assert "(1 image)" in _told(made | {"images": 1})


def test_one_row_is_no_plural_in_a_legend() -> None:
    frame = pd.DataFrame({"block": [1]})
    frame.attrs = {"observation": "token", "rows": 1}
    assert [one.get_label() for one in counted([frame])] == ["1 window"]
    frame.attrs["rows"] = 2
    assert [one.get_label() for one in counted([frame])] == ["2 windows"]


def _told(made: dict[str, Any], **attrs: Any) -> str:
    """What a report says of the data."""
    frame = pd.DataFrame({"block": [1], "loss": [0.5]})
    frame.attrs = {"model": "a", "provenance": made} | attrs
    return " ".join(section_of(frame, "a").text)
