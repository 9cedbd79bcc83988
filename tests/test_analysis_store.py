"""Analyses that are kept whole: found again in a store, written, read and drawn."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from networks import build, images_for

import ensembles
from ensembles.analyses import diversity_tables
from ensembles.analyses.kinds import ANALYSES
from ensembles.engine.materials import digest_of_given
from ensembles.errors import DataWarning
from ensembles.plots import plot_analysis
from ensembles.tasks.members.classification import MEMBER as CLASSIFICATION

FEW: dict[str, dict[str, Any]] = {
    "refinement": {},
    "diversity": {"members": 3},
    "spectra": {"images": 2, "scales": "0.5"},
}


@pytest.mark.parametrize("name", FEW)
def test_a_table_is_found_again_and_drawn_from_its_file(name: str, tmp_path: Path) -> None:
    model = build([("attention", 6, 1)] * 2, seed=3)
    images, labels = images_for(model, 20)
    net, data = ensembles.decompose(model, images[:4]), [(images, labels)]
    tables = [
        ensembles.analyze(net, data, name, store=tmp_path / "kept.db", model="vit", **FEW[name])
        for _ in range(2)
    ]
    assert [one.attrs["store"]["known"] for one in tables] == [False, True]
    pd.testing.assert_frame_equal(*tables, check_exact=True)
    ensembles.write_frame(tables[1], tmp_path / "table.csv")
    read = ensembles.read_frame(tmp_path / "table.csv")
    analysis = ANALYSES.get(name)
    assert analysis.notes(read) == analysis.notes(tables[0])
    assert {title: len(view) for title, view in analysis.views(read).items()} == {
        title: len(view) for title, view in analysis.views(tables[0]).items()
    }
    assert len(plot_analysis(read).axes) >= 3


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("refinement", {"rows": 2}),
        ("diversity", {"rows": 2, "members": 2}),
        ("spectra", {"rows": 2, "images": 2, "scales": "none", "cells": 0}),
        ("coupling", {"rows": 2, "positions": 1, "top": 2}),
        ("depth", {"rows": 2, "images": 1}),
    ],
)
def test_a_store_changes_nothing_in_what_is_measured(
    name: str, options: dict[str, Any], tmp_path: Path
) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = ensembles.create_model("gpt6", width=16, heads=2).eval()
    data = ensembles.dataset("prose", limit=8, window=8)
    net = ensembles.decompose(model, data.windows[:2])
    with_it = ensembles.analyze(net, data, name, store=tmp_path / "kept.db", **options)
    without = ensembles.analyze(net, data, name, **options)
    pd.testing.assert_frame_equal(with_it, without, check_exact=True)
    assert with_it.attrs.get("rows") == without.attrs.get("rows")
    assert with_it.attrs.get("observations") == without.attrs.get("observations")


def test_a_table_of_more_windows_than_were_asked_for_is_doubted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = ensembles.create_model("gpt6", width=16, heads=2).eval()
    data = ensembles.dataset("prose", limit=6, window=8)
    asked: dict[str, Any] = {"rows": 2, "members": 2, "store": tmp_path / "kept.db"}
    with monkeypatch.context() as earlier:  # all windows were measured, and kept under these rows
        earlier.setattr(diversity_tables, "some_rows", lambda data, count, name: data)
        ensembles.analyze(model, data, "diversity", **asked)
    with pytest.warns(DataWarning, match="of diversity in .* is of 6 rows, .*, and 2 were asked"):
        found = ensembles.analyze(model, data, "diversity", **asked)
    assert found.attrs["rows"] == 6
    with warnings.catch_warnings():
        warnings.simplefilter("error", DataWarning)
        for _ in range(2):
            other = asked | {"store": tmp_path / "another.db"}
            assert ensembles.analyze(model, data, "diversity", **other).attrs["rows"] == 2


def test_what_is_given_beside_network_and_data_is_part_of_the_key(tmp_path: Path) -> None:
    model = build([("attention", 6, 1)] * 2, seed=3)
    net = ensembles.decompose(model, images_for(model, 4)[0])
    data = [images_for(model, 20)]
    store = tmp_path / "kept.db"

    def found(seed: int | None) -> pd.DataFrame:
        given = {} if seed is None else {"reference": [images_for(model, 24, seed)]}
        return ensembles.analyze(net, data, "refinement", store=store, **given)

    first, other, none = found(1), found(2), found(None)
    assert [one.attrs["store"]["known"] for one in (first, other, none)] == [False] * 3
    assert not first.equals(other)
    again = found(1)
    assert again.attrs["store"]["known"]
    pd.testing.assert_frame_equal(again, first, check_exact=True)


def test_networks_that_are_given_are_told_apart_by_their_weights() -> None:
    one, other = (build([("attention", 6, 1)], seed=seed) for seed in (3, 4))
    digests = {
        digest_of_given(CLASSIFICATION),
        digest_of_given(CLASSIFICATION, initial=one),
        digest_of_given(CLASSIFICATION, initial=other),
        digest_of_given(CLASSIFICATION, sources={"a": one}),
        digest_of_given(CLASSIFICATION, sources={"b": one}),
        digest_of_given(CLASSIFICATION, sources={"a": other}),
    }
    assert len(digests) == 6
    assert digest_of_given(CLASSIFICATION, sources=lambda name: one) == ""
