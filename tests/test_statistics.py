from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest, spearmanr

from ensembles.errors import UsageError
from ensembles.statistics import (
    error_intervals,
    rank_correlations,
    summary_by_count,
    summary_by_tau,
    wilson_interval,
)


def sweep(rows: list[tuple[str, int, float, float]]) -> pd.DataFrame:
    frame = pd.DataFrame(rows, columns=["lesion", "count", "kendall_tau", "error"])
    frame["total"] = 100
    frame["correct"] = (100 * (1 - frame.error.fillna(1))).round().astype(int)
    return frame


@given(st.integers(1, 10_000), st.data(), st.sampled_from([0.5, 0.95, 0.999]))
@settings(deadline=None)
def test_wilson_against_scipy(total: int, data: st.DataObject, confidence: float) -> None:
    k = data.draw(st.integers(0, total))
    low, high = wilson_interval(k, total, confidence)
    expected = binomtest(k, total).proportion_ci(confidence, method="wilson")
    assert low == pytest.approx(expected.low, abs=1e-12)
    assert high == pytest.approx(expected.high, abs=1e-12)


def test_wilson_broadcasts_and_knows_no_images() -> None:
    low, high = wilson_interval([0, 5, 10], 10)
    assert low.shape == high.shape == (3,)
    assert (low[0], high[2]) == (0, 1)
    assert np.isnan(wilson_interval(0, 0)).all()
    with pytest.raises(UsageError, match=r"^confidence 95: expected a number between 0 and 1$"):
        wilson_interval(1, 2, confidence=95)


def test_error_intervals() -> None:
    frame = sweep([("none", 0, 1, 0.1), ("delete", 1, math.nan, math.nan)])
    frame.attrs["model"] = "x"
    with_interval = error_intervals(frame)
    assert with_interval.error_low[0] == pytest.approx(0.0552, abs=1e-4)
    assert with_interval.error_high[0] == pytest.approx(0.1744, abs=1e-4)
    assert with_interval.loc[1, ["error_low", "error_high"]].isna().all()
    assert with_interval.attrs == {"model": "x"}
    assert "error_low" not in frame


def test_summary_by_count() -> None:
    errors = [0.1, 0.2, 0.3, 0.4, 0.5]
    frame = sweep(
        [("none", 0, 1, 0.05)]
        + [("delete", 2, math.nan, error) for error in errors]
        + [("delete", 1, math.nan, 0.1), ("delete", 1, math.nan, math.nan)]
        + [("duplicate", 1, math.nan, 0.7)]
    )
    summary = summary_by_count(frame)
    assert summary.to_dict("list") == {
        "lesion": ["delete", "delete", "duplicate"],
        "count": [1, 2, 1],
        "n": [1, 5, 1],
        "q1": [0.1, 0.2, 0.7],
        "median": [0.1, 0.3, 0.7],
        "q3": [0.1, 0.4, 0.7],
        "nonfinite": [1, 0, 0],
    }


def test_the_recalibrated_intact_network_is_no_lesion() -> None:
    rows = [("none", 0, 1, 0.1), ("recalibrated", 0, 1, 0.2), ("recalibrated", 1, math.nan, 0.3)]
    frame = sweep(rows).assign(blocks=["", "none | 8x128", "delete 3 | 8x128"], kl=[0.0, 0.5, 0.7])
    assert summary_by_count(frame)[["count", "n", "median"]].to_numpy().tolist() == [[1, 1, 0.3]]
    assert summary_by_count(frame, "kl")["median"].tolist() == [0.7]
    assert summary_by_tau(frame).empty
    assert rank_correlations(frame)["n"].tolist() == [1, 1]


def test_summary_by_tau() -> None:
    taus = [0.8, 0.85, 0.9, 0.95, 1.0]
    frame = sweep([("reorder", 1, tau, 1 - tau) for tau in taus] + [("delete", 1, math.nan, 0.9)])
    summary = summary_by_tau(frame, bins=2)
    assert summary.n.tolist() == [3, 2]
    assert summary.tau_low.tolist() == pytest.approx([0.8, 0.9])
    assert summary.tau_high.tolist() == pytest.approx([0.9, 1.0])
    assert summary.tau.tolist() == pytest.approx([0.85, 0.975])
    assert summary["median"].tolist() == pytest.approx([0.15, 0.025])
    assert summary_by_tau(frame, bins=100).n.sum() == 5
    assert summary_by_tau(frame[frame.lesion == "delete"]).empty
    with pytest.raises(UsageError, match=r"^bins 0: expected 1 or more$"):
        summary_by_tau(frame, bins=0)


def test_summary_when_every_order_is_the_intact_one() -> None:
    summary = summary_by_tau(sweep([("reorder", 2, 1.0, 0.2)] * 3), bins=4)
    assert (summary.n.tolist(), summary.tau.tolist()) == ([3], [1.0])


def test_rank_correlations() -> None:
    generator = np.random.default_rng(0)
    rows = [
        ("reorder", int(count), 1 - count / 50, float(count / 20 + generator.normal(0, 0.05)))
        for count in generator.integers(1, 11, 60)
    ]
    frame = sweep([("none", 0, 1, 0.0), *rows, ("reorder", 3, 0.9, math.nan)])
    result = rank_correlations(frame)
    assert list(
        result[["lesion", "variable", "coefficient"]].itertuples(index=False, name=None)
    ) == [
        ("reorder", "count", "spearman"),
        ("reorder", "count", "kendall"),
        ("reorder", "kendall_tau", "spearman"),
        ("reorder", "kendall_tau", "kendall"),
    ]
    row: dict[Any, Any] = result.iloc[0].to_dict()
    expected = spearmanr([r[1] for r in rows], [r[3] for r in rows]).statistic
    assert row["value"] == pytest.approx(expected)
    assert row["n"] == 60
    half = 1.959964 * math.sqrt((1 + expected**2 / 2) / 57)
    assert row["low"] == pytest.approx(math.tanh(math.atanh(expected) - half))
    assert row["high"] == pytest.approx(math.tanh(math.atanh(expected) + half))
    assert result.value.tolist()[2] == pytest.approx(-expected)


def test_rank_correlations_of_too_little() -> None:
    constant = rank_correlations(sweep([("delete", 1, math.nan, e) for e in (0.1, 0.2)]))
    assert constant.value.isna().all()
    few = rank_correlations(sweep([("delete", k, math.nan, k / 10) for k in (1, 2, 3)]))
    assert few.value.tolist() == pytest.approx([1, 1])
    assert few.low.isna().all()
    perfect = rank_correlations(sweep([("delete", k, math.nan, k / 10) for k in range(1, 9)]))
    assert (perfect.high <= 1).all()


def test_the_interval_covers() -> None:
    generator = np.random.default_rng(1)
    hits = 0
    for _ in range(300):
        x, y = generator.multivariate_normal([0, 0], [[1, 0.6], [0.6, 1]], 40).T
        frame = pd.DataFrame({"lesion": "delete", "count": x, "kendall_tau": math.nan, "error": y})
        kendall: dict[Any, Any] = rank_correlations(frame).iloc[1].to_dict()
        hits += kendall["low"] <= 2 / math.pi * math.asin(0.6) <= kendall["high"]
    assert 0.91 <= hits / 300 <= 0.99


@pytest.mark.parametrize(
    "function", [error_intervals, summary_by_count, summary_by_tau, rank_correlations]
)
def test_missing_columns(function: object) -> None:
    with pytest.raises(UsageError, match=r"^table without the column .*error: expected a table of"):
        function(pd.DataFrame({"lesion": [], "count": []}))  # type: ignore[operator]


@pytest.mark.assets
def test_published_lesions(assets: Path) -> None:
    path = assets / "reference" / "veit2016_lesions_preact_resnet110_cifar10.csv"
    frame = pd.read_csv(path, dtype={"blocks": str}).rename(columns={"top1_error": "error"})
    summary = summary_by_count(frame).set_index(["lesion", "count"])
    assert summary.n.sum() == 4647
    direct = frame[(frame.lesion == "delete") & (frame["count"] == 10)].error
    assert summary.loc[("delete", 10), "median"] == direct.median()
    by_tau = summary_by_tau(frame)
    assert by_tau.n.sum() == 2925
    assert by_tau["median"].is_monotonic_decreasing
    spearman = rank_correlations(frame).query("coefficient == 'spearman'")
    values = dict(zip(spearman.lesion + " " + spearman.variable, spearman.value, strict=True))
    assert values["reorder kendall_tau"] < -0.5
    assert values["delete count"] > 0.8
