"""Influence: the proxies beside what deletion does."""

from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from analysed import Subject, five_blocks
from networks import build, images_for, silenced
from torch import Tensor, nn

import ensembles
from ensembles.analyses import ANALYSES
from ensembles.decomposition import Decomposition, decompose
from ensembles.errors import DataError, UsageError
from ensembles.lesions import Delete
from ensembles.models.ensemble import Average


@pytest.fixture(scope="module")
def network() -> Subject:
    return five_blocks()


@pytest.fixture(scope="module")
def influence(network: tuple[Decomposition, list[tuple[Tensor, Tensor]]]) -> pd.DataFrame:
    return ensembles.analyze(*network, "influence", span=2, model="small", resamples=50)


METRICS = ("top1", "loss", "kl", "agreement")


def test_damage_is_that_of_deletions(influence: pd.DataFrame, network: tuple) -> None:
    net, data = network
    spans = [Delete((block, block + 1)) for block in range(1, 5)]
    lesions = [*(Delete((block,)) for block in range(1, 6)), *spans]
    swept = ensembles.lesion(net, data, lesions, metrics=METRICS, engine="direct")
    intact, deleted, pairs = swept.iloc[0], swept.iloc[1:6], swept.iloc[6:]
    for prefix, rows, found in (
        ("", deleted, influence), ("span_", pairs, influence[:4]),
    ):  # fmt: skip
        assert np.allclose(found[f"{prefix}loss_rise"], rows["loss"] - intact["loss"], atol=1e-5)
        assert np.allclose(found[f"{prefix}accuracy_fall"], rows["error"] - intact["error"])
        assert np.allclose(found[f"{prefix}kl"], rows["kl"], atol=1e-5)
        assert np.allclose(found[f"{prefix}agreement"], rows["agreement"])
    assert influence.iloc[4][["span_loss_rise", "span_angle"]].isna().all()
    assert influence["reason"][4] == "the span 5-6 leaves the network"
    assert list(influence["against"]) == ["input", "input", "shortcut", "input", "input"]
    assert (influence["reason"][:4] == "").all()


def test_the_table_says_how_it_was_made(influence: pd.DataFrame) -> None:
    attrs = influence.attrs
    assert attrs["analysis"] == "influence" and attrs["model"] == "small"
    assert attrs["options"] == {"span": 2, "cosine": "position", "resamples": 50, "seed": 0}
    assert (attrs["cosine"], attrs["rows"], attrs["blocks"]) == ("position", 12, 5)
    assert attrs["transitions"] == [3] and attrs["provenance"]["precision"] == "fp32"
    assert "failed" not in attrs


def test_correlations_are_those_of_ranks(influence: pd.DataFrame) -> None:
    rows = influence.attrs["correlations"]
    assert len(rows) == 4 * 4 + 2 * 4
    for row in rows:
        damage = row["damage"].replace("disagreement", "agreement")
        x, y = influence[row["proxy"]], influence[damage]
        y = 1 - y if damage != row["damage"] else y
        both = x.notna() & y.notna()
        wanted = x[both].rank().corr(y[both].rank())  # Pearson's of ranks
        assert row["n"] == both.sum()
        if row["value"] is None:
            assert y[both].nunique() == 1
        else:
            assert row["value"] == pytest.approx(wanted)
            assert row["low"] is None or row["low"] - 1e-9 <= row["value"] <= row["high"] + 1e-9
    views = ANALYSES.get("influence").views(influence)
    (view,) = views.values()
    assert list(view.columns) == ["proxy", "damage", "value", "low", "high", "n"]
    notes = ANALYSES.get("influence").notes(influence)
    assert notes[0].startswith("of the proxies, ") and "over 5 blocks" in notes[0]
    assert notes[1].startswith("blocks 3: the shortcut is not the identity")


def test_blocks_without_a_shortcut_have_what_has_a_meaning() -> None:
    model = build([("plain", 6, 1), ("plain", 8, 2)], seed=2)
    images, labels = images_for(model, 6)
    table = ensembles.analyze(decompose(model, images), [(images, labels)], "influence")
    assert list(table["kind"].unique()) == ["plain"]
    same = table["against"] == "input"
    assert same.any() and not same.all()
    assert table.loc[same, "influence"].notna().all() and table.loc[~same, "influence"].isna().all()
    assert table[["branch_ratio", "branch_cosine"]].isna().all().all()
    assert (table.loc[same, "reason"] == "no shortcut, so that its branch adds to nothing").all()
    assert table.loc[~same, "reason"].str.startswith("no shortcut, and the shape changes").all()
    assert table["loss_rise"].notna().any()


def test_a_branch_that_gives_nothing_harms_nothing() -> None:
    model = build([("post", 6, 1), ("pre", 6, 1), ("post", 6, 1)], seed=4)
    images, labels = images_for(model, 6)
    net = decompose(silenced(model, 2), images)
    row = ensembles.analyze(net, [(images, labels)], "influence").iloc[1]
    zero = ["influence", "angle", "branch_ratio", "loss_rise", "accuracy_fall", "kl"]
    assert (row[zero].astype(float).abs() < 1e-7).all() and row["agreement"] == 1
    assert math.isnan(row["branch_cosine"])
    assert row["reason"] == "its branch, or what it is added to, is zero everywhere"


def test_what_influence_refuses(network: tuple) -> None:
    net, data = network
    with pytest.raises(DataError, match="can be read only once, and influence reads them twice"):
        ensembles.analyze(net, iter(data), "influence")
    with pytest.raises(UsageError, match="a span of 6 blocks; the network has 5"):
        ensembles.analyze(net, data, "influence", span=6)
    with pytest.raises(UsageError, match=r"influence has no option 'spam'; expected span, .*; did"):
        ensembles.analyze(net, data, "influence", spam=2)
    with pytest.raises(UsageError, match="9 resamples; expected at least 10"):
        ensembles.analyze(net, data, "influence", resamples=9)
    members = Average([build([("plain", 6, 1)], seed=seed) for seed in (1, 2)])
    images, labels = data[0]
    with pytest.raises(UsageError, match="the blocks of Average stand side by side"):
        ensembles.analyze(decompose(members.eval(), images), [(images, labels)], "influence")


def test_a_store_keeps_the_table_and_the_deletions(network: tuple, tmp_path: Path) -> None:
    net, data = network
    first = ensembles.analyze(net, data, "influence", store=tmp_path / "a.db", resamples=20)
    assert first.attrs["store"]["known"] is False
    again = ensembles.analyze(net, data, "influence", store=tmp_path / "a.db", resamples=20)
    assert again.attrs["store"]["known"] is True
    pd.testing.assert_frame_equal(first, again)
    assert again.attrs["correlations"] == first.attrs["correlations"]
    swept = ensembles.lesion(net, data, store=tmp_path / "a.db", metrics=METRICS)
    assert swept.attrs["store"]["measured"] == 0  # the deletions are there already
    other = ensembles.analyze(
        net, data, "influence", store=tmp_path / "a.db", resamples=20, cosine="flattened"
    )
    assert other.attrs["store"]["known"] is False
    assert not np.allclose(other["influence"], first["influence"])


DRAW = """
import sys, ensembles
for path in sys.argv[1:]:
    figure = ensembles.plot_analysis(ensembles.read_frame(path), path + ".svg")
    print(len(figure.axes), "torch" in sys.modules)
"""


def test_the_table_survives_a_file_and_is_drawn_without_torch(
    influence: pd.DataFrame, tmp_path: Path
) -> None:
    paths = [tmp_path / f"influence{ending}" for ending in (".csv", ".json", ".parquet")]
    for path in paths:
        ensembles.write_frame(influence, path)
        again = ensembles.read_frame(path)
        pd.testing.assert_frame_equal(again, influence, check_dtype=False)
        assert again.attrs["correlations"] == influence.attrs["correlations"]
    command = [sys.executable, "-c", DRAW, *map(str, paths)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["3 False"] * 3
    for path in paths:
        assert "Spearman" in path.with_name(f"{path.name}.svg").read_text()


class Reader(nn.Module):
    """A tiny decoder: ids in, logits for each token out."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.head = nn.Embedding(7, 4), nn.Linear(4, 7)
        self.norms = nn.ModuleList(nn.LayerNorm(4) for _ in range(2))
        self.layers = nn.ModuleList(nn.Linear(4, 4) for _ in range(2))

    def forward(self, ids: Tensor) -> Tensor:
        x = self.words(ids)
        for norm, layer in zip(self.norms, self.layers, strict=True):
            x = x + layer(norm(x)).cumsum(1)
        return self.head(x)


def test_influence_of_a_language_model() -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model, ids = Reader().eval(), torch.randint(7, (6, 5))
    net = decompose(model, ids)
    tables = [
        ensembles.analyze(net, ids, "influence", cosine=cosine) for cosine in ("last", "position")
    ]
    for table in tables:
        assert (table.attrs["task"], table.attrs["observation"]) == ("language", "token")
        assert table[["influence", "branch_ratio", "kl"]].notna().all().all()
    with torch.no_grad():
        x = model.words(ids).double()
        y = x + model.layers[0](model.norms[0](model.words(ids))).cumsum(1).double()
        cosines = torch.nn.functional.cosine_similarity(x, y, dim=-1)
    assert tables[0]["influence"][0] == pytest.approx(1 - float(cosines[:, -1].mean()), abs=1e-6)
    assert tables[1]["influence"][0] == pytest.approx(1 - float(cosines.mean()), abs=1e-6)
