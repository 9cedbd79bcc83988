"""The published facts are what the authors' raw results say."""

from __future__ import annotations

import pandas as pd
import pytest

from ensembles.reproduction.criteria import quartiles
from ensembles.reproduction.derivation import SWEEPS, derive, toml_text
from ensembles.reproduction.published import (
    facts,
    published_depths,
    published_network,
    published_quartiles,
    published_singles,
)
from ensembles.statistics import wilson_interval


@pytest.fixture
def reference(assets):
    folder = assets / "reference"
    if not (folder / SWEEPS).is_file():
        pytest.skip("ENSEMBLES_ASSETS has no published results")
    return folder


@pytest.mark.assets
def test_every_fact_comes_out_of_the_raw_results(reference):
    found = derive(reference)
    assert {key: facts()[key] for key in found} == found


@pytest.mark.assets
def test_no_fact_below_the_line_is_typed_by_hand(reference):
    stated = facts()
    assert set(stated) == {"sources", "text", *derive(reference)}


@pytest.mark.assets
def test_the_raw_results_are_whole(reference):
    plan = pd.read_csv(reference / SWEEPS)
    assert len(plan) == 4647
    assert sum(facts()["sweeps"][kind]["lesions"] for kind in facts()["sweeps"]) == 4647


def test_what_the_raw_results_show_and_the_text_does_not():
    known = facts()["single_deletion"]["preact_resnet110_cifar10"]
    intact, errors = known["intact"], dict(enumerate(known["errors"], start=1))
    assert errors[1] - intact == pytest.approx(0.36, abs=0.005)
    assert errors[11] - intact == pytest.approx(0.05, abs=0.005)
    assert sorted(errors, key=errors.get)[-4:] == [11, 37, 19, 1]
    depths = published_depths()
    assert list(depths["depth"]) == [20, 32, 44, 56, 110]
    assert depths["median"].is_monotonic_decreasing
    assert (depths["median"].iloc[0], depths["median"].iloc[-1]) == (0.4474, 0.06455)
    assert published_depths(stochastic=True)["median"].iloc[-1] == 0.0526


def test_published_curves_look_like_our_tables():
    frame = published_singles()
    assert list(frame["lesion"][:2]) == ["none", "delete"]
    assert len(frame) == 55 and frame.attrs["transitions"] == [19, 37]
    low, high = wilson_interval(frame["total"] - frame["correct"], frame["total"])
    assert ((low <= frame["error"]) & (frame["error"] <= high)).all()
    other = published_singles(published_network(56, stochastic=True))
    assert other.attrs["model"] == "published ResNet-56, stochastic depth"
    assert (len(other), other.attrs["transitions"]) == (28, [10, 19])
    assert published_network(1202) is None
    vgg = published_singles("vgg_cifar10")
    assert list(vgg["blocks"]) == [str(block) for block in range(2, 14)]
    assert set(vgg["lesion"]) == {"delete"}
    assert list(published_quartiles("delete")["count"]) == list(range(1, 21))
    assert published_quartiles("reorder", "tau")["n"].sum() == 2925


def test_bins_of_tau_end_at_fixed_places():
    frame = pd.DataFrame(
        {
            "lesion": ["none", "reorder", "reorder", "reorder", "reorder"],
            "kendall_tau": [1.0, 1.0, 0.9751, 0.975, 0.9],
            "error": [0.0, 0.1, 0.3, 0.5, 0.7],
        }
    )
    table = quartiles(frame, "reorder", "tau")
    assert list(table["tau"]) == [0.9875, 0.9625, 0.8875]
    assert list(table["n"]) == [2, 1, 1]
    assert list(table["median"]) == [0.2, 0.5, 0.7]


def test_toml_text_nests_tables():
    assert toml_text({"a": {"x": 1, "b": {"y": [0.5]}}}) == "[a]\nx = 1\n\n[a.b]\ny = [0.5]\n\n"
