"""Bootstrap intervals and correlations of curves, against slow loops and scipy."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from scipy.stats import kendalltau, spearmanr

from ensembles.errors import UsageError
from ensembles.statistics import bootstrap_by_count, bootstrap_images, curve_correlations


def lesions(kind: str, count: int, errors: list[float]) -> pd.DataFrame:
    return pd.DataFrame({"lesion": kind, "count": count, "error": errors})


def curve(errors: list[float]) -> pd.DataFrame:
    blocks = [str(block) for block in range(1, len(errors) + 1)]
    return lesions("delete", 1, errors).assign(blocks=blocks)


def predictions(right: np.ndarray, names: list[tuple[str, str]]) -> pd.DataFrame:
    return pd.DataFrame(right, columns=pd.MultiIndex.from_tuples(names, names=["lesion", "blocks"]))


def test_bootstrap_by_count() -> None:
    errors = np.random.default_rng(0).normal(0.5, 0.1, 40)
    frame = pd.concat(
        [
            lesions("none", 0, [0.1]),
            lesions("delete", 2, [*errors, math.nan]),
            lesions("delete", 1, [0.3]),
        ]
    )
    found = bootstrap_by_count(frame, "mean")
    assert found["lesion"].tolist() == ["delete", "delete"]
    assert found["count"].tolist() == [1, 2] and found["n"].tolist() == [1, 40]
    assert np.isnan(found["low"][0]) and found["mean"][0] == 0.3
    half = 1.96 * errors.std() / math.sqrt(40)
    assert found["low"][1] == pytest.approx(errors.mean() - half, abs=0.005)
    assert found["high"][1] == pytest.approx(errors.mean() + half, abs=0.005)
    assert found.equals(bootstrap_by_count(frame, "mean"))
    assert not found.equals(bootstrap_by_count(frame, "mean", seed=1))


def test_the_interval_of_a_median_covers() -> None:
    generator = np.random.default_rng(2)
    frames = [lesions("delete", k, list(generator.exponential(1, 30))) for k in range(1, 201)]
    found = bootstrap_by_count(pd.concat(frames), resamples=400)
    hits = found["low"].le(math.log(2)) & found["high"].ge(math.log(2))
    assert 0.89 <= hits.mean() <= 0.99


def test_bootstrap_images_draws_each_image_for_all_lesions() -> None:
    generator = np.random.default_rng(3)
    whole = generator.random(300) < 0.9
    cut = whole & (generator.random(300) < 0.8)
    names = [("delete", "1"), ("none", ""), ("delete", "2 3")]
    found = bootstrap_images(predictions(np.array([cut, whole, whole]).T, names))
    assert found["lesion"].tolist() == ["none", "delete", "delete"]
    assert found["count"].tolist() == [0, 1, 2] and found["n"].tolist() == [1, 1, 1]
    assert found["median"][0] == pytest.approx(1 - whole.mean())
    half = 1.96 * cut.std() / math.sqrt(300)
    assert found["high"][1] - found["low"][1] == pytest.approx(2 * half, rel=0.15)
    assert found["difference"][1] == pytest.approx(whole.mean() - cut.mean())
    paired = 1.96 * (whole ^ cut).std() / math.sqrt(300)
    width = found["difference_high"][1] - found["difference_low"][1]
    assert width == pytest.approx(2 * paired, rel=0.15)
    # a lesion that changes no prediction differs by nothing in every draw
    assert found.loc[2, ["difference_low", "difference_high"]].tolist() == [0, 0]


def test_bootstrap_images_against_a_loop() -> None:
    right = np.random.default_rng(4).random((25, 4)) < 0.7
    names = [("none", ""), ("delete", "1"), ("delete", "2"), ("delete", "3")]
    found = bootstrap_images(predictions(right, names), resamples=200, seed=5)
    draws = np.random.default_rng(5)
    medians = []
    for _ in range(200):
        rows = draws.integers(0, 25, 25)
        medians.append(np.median(1 - right[rows][:, 1:].mean(0)))
    low, high = np.percentile(medians, [2.5, 97.5])
    assert found["low"][1] == pytest.approx(low) and found["high"][1] == pytest.approx(high)


def test_curve_correlations() -> None:
    generator = np.random.default_rng(6)
    one = list(generator.random(54))
    other = [value + generator.normal(0, 0.2) for value in one]
    found = curve_correlations(curve(one), curve(other)[::-1], resamples=300).set_index(
        "coefficient"
    )
    assert found.loc["spearman", "value"] == pytest.approx(spearmanr(one, other).statistic)
    assert found.loc["kendall", "value"] == pytest.approx(kendalltau(one, other).statistic)
    assert found["n"].tolist() == [54, 54]
    for name in ("spearman", "kendall"):
        row = found.loc[name]
        assert 0.4 < row["low"] < row["value"] < row["high"] < 1


def test_only_single_deletions_that_both_have_are_compared() -> None:
    first = pd.concat([curve([0.1, 0.2, 0.3, 0.4]), lesions("none", 0, [0.0]).assign(blocks="")])
    second = curve([0.5, 0.6, math.nan])
    found = curve_correlations(first, second)
    assert found["n"].tolist() == [2, 2] and found["value"].tolist() == pytest.approx([1, 1])
    assert found["low"].isna().all()


def test_a_constant_curve_has_no_rank() -> None:
    found = curve_correlations(curve([0.9] * 6), curve([0.1, 0.2, 0.3, 0.4, 0.5, 0.6]))
    assert found[["value", "low", "high"]].isna().all(axis=None)
    mostly = curve_correlations(curve([0.9] * 5 + [0.1]), curve([6, 5, 4, 3, 2, 1]), resamples=200)
    assert mostly[["low", "high"]].notna().all(axis=None)


def test_what_cannot_be_meant_is_refused() -> None:
    several = pd.concat([curve([0.1]), curve([0.2])])
    with pytest.raises(UsageError, match=r"^the second table holds two lesions of one block"):
        curve_correlations(curve([0.1, 0.2]), several)
    with pytest.raises(UsageError, match=r"^the first table holds no delete of a single block"):
        curve_correlations(lesions("none", 0, [0.1]).assign(blocks=""), several)
    with pytest.raises(UsageError, match=r"^statistic 'medain'; expected median or mean; did you"):
        bootstrap_by_count(several, "medain")
    with pytest.raises(UsageError, match=r"^5 resamples; expected at least 10$"):
        bootstrap_by_count(several, resamples=5)
    with pytest.raises(UsageError, match=r"^table without the column error"):
        bootstrap_by_count(pd.DataFrame({"lesion": [], "count": []}))
