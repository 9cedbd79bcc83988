"""Statistics of arrays against slow loops, scipy and numbers from the sources."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest, kendalltau, mannwhitneyu, spearmanr

from ensembles.errors import UsageError
from ensembles.statistics import (
    bootstrap_interval,
    bootstrap_items,
    coefficient,
    difference_of_shares,
    equal_bins,
    fixed_bins,
    holm,
    largest_step,
    mann_whitney,
    mcnemar,
    median_interval,
    quartiles_by_bin,
    rank_correlation,
    spearman_interval,
    summary_by_tau_step,
)

numbers = st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=30)


def test_newcombes_example() -> None:
    # Newcombe 1998, table II (a): 56/70 and 48/80, method 10
    found = difference_of_shares((56, 48), (70, 80))
    assert found == pytest.approx((0.2, 0.0524, 0.3339), abs=5e-5)
    assert difference_of_shares((48, 56), (80, 70)) == pytest.approx(
        (-0.2, -0.3339, -0.0524), abs=5e-5
    )
    with pytest.raises(UsageError, match=r"^shares of an empty sample; expected one observation"):
        difference_of_shares((0, 1), (0, 2))
    with pytest.raises(UsageError, match=r"^confidence 2: expected a number between 0 and 1$"):
        difference_of_shares((1, 1), (2, 2), confidence=2)


def test_the_interval_of_a_difference_covers() -> None:
    generator = np.random.default_rng(0)
    first, second = generator.binomial(60, 0.3, 300), generator.binomial(80, 0.2, 300)
    found = [difference_of_shares(pair, (60, 80)) for pair in zip(first, second, strict=True)]
    assert 0.92 <= np.mean([one.low <= 0.1 <= one.high for one in found]) <= 0.99


@given(st.lists(st.integers(0, 40), min_size=1, max_size=8), st.data())
@settings(max_examples=30, deadline=None)
def test_mcnemar_against_the_binomial_test(b: list[int], data: st.DataObject) -> None:
    c = data.draw(st.lists(st.integers(0, 40), min_size=len(b), max_size=len(b)))
    p, exact = mcnemar(b, c)
    for one, other, value, is_exact in zip(b, c, p, exact, strict=True):
        assert is_exact == (one + other < 25)
        if is_exact and one + other:
            assert value == pytest.approx(binomtest(one, one + other).pvalue)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
@settings(max_examples=30, deadline=None)
def test_holm_against_its_definition(p: list[float]) -> None:
    order = sorted(range(len(p)), key=lambda place: p[place])
    expected, highest = [0.0] * len(p), 0.0
    for rank, place in enumerate(order):
        highest = max(highest, min(1.0, (len(p) - rank) * p[place]))
        expected[place] = highest
    assert holm(p) == pytest.approx(expected)


@given(numbers, numbers)
@settings(max_examples=30, deadline=None)
def test_mann_whitney_counts_pairs(first: list[float], second: list[float]) -> None:
    found = mann_whitney(first, second)
    pairs = [float(a > b) + (a == b) / 2 for a in first for b in second]
    assert found.probability == pytest.approx(np.mean(pairs))
    expected = mannwhitneyu(first, second, alternative="greater").pvalue
    assert found.p_value == pytest.approx(expected, nan_ok=True)


def test_an_empty_sample_has_no_rank_test() -> None:
    with pytest.raises(UsageError, match=r"^a rank test of an empty sample; expected one value"):
        mann_whitney([], [1.0])


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=2, max_size=30))
@settings(max_examples=40, deadline=None)
def test_coefficients_against_scipy(pairs: list[tuple[int, int]]) -> None:
    x, y = np.array(pairs, float).T
    for kind, oracle in (("spearman", spearmanr), ("kendall", kendalltau)):
        value = coefficient(x, y, kind)
        if len(set(x)) == 1 or len(set(y)) == 1:
            assert math.isnan(value)
        else:
            assert value == pytest.approx(oracle(x, y).statistic)
            assert rank_correlation(x, y, kind).value == value


@pytest.mark.parametrize("n", [5, 9, 40])
def test_intervals_on_fishers_scale_are_those_of_bonett_and_wright(n: int) -> None:
    x = np.arange(n)
    y = np.random.default_rng(n).permutation(n) + 0.5 * x
    for kind in ("spearman", "kendall"):
        value, low, high = rank_correlation(x, y, kind, confidence=0.9)
        error = np.sqrt((1 + value**2 / 2) / (n - 3) if kind == "spearman" else 0.437 / (n - 4))
        ends = np.tanh(np.arctanh(value) + 1.6448536 * error * np.array([-1, 1]))
        assert (low, high) == pytest.approx(tuple(ends), abs=1e-6)


def test_spearman_interval_against_a_loop() -> None:
    generator = np.random.default_rng(0)
    x = generator.normal(size=20).round(1)
    y = (x + generator.normal(size=20)).round(1)
    found = spearman_interval(x, y, seed=3, resamples=300)
    draws = np.random.default_rng(3)
    values = []
    for _ in range(300):
        rows = draws.integers(0, 20, 20)
        values.append(spearmanr(x[rows], y[rows]).statistic)
    assert found.value == pytest.approx(spearmanr(x, y).statistic)
    assert [found.low, found.high] == pytest.approx(np.quantile(values, [0.025, 0.975]))
    assert spearman_interval(x, y, seed=3, resamples=300) == found
    assert spearman_interval(x, y, seed=4, resamples=300) != found


def test_spearman_interval_covers() -> None:
    generator = np.random.default_rng(1)
    truth = 6 / math.pi * math.asin(0.6 / 2)
    hits = 0
    for seed in range(150):
        x, y = generator.multivariate_normal([0, 0], [[1, 0.6], [0.6, 1]], 50).T
        found = spearman_interval(x, y, seed, resamples=200)
        hits += found.low <= truth <= found.high
    assert 0.88 <= hits / 150 <= 0.99


def test_spearman_interval_of_too_little() -> None:
    assert spearman_interval([1, 2, 3], [1, 2, 3])[:1] == (1,)
    assert np.isnan(spearman_interval([1, 2, 3], [1, 2, 3])[1:]).all()
    assert np.isnan(spearman_interval([1] * 6, range(6))).all()
    # a resample in which one is constant counts as no correlation
    mostly = spearman_interval([0] * 9 + [1], [0] * 9 + [1], resamples=200)
    assert mostly.low == 0 and mostly.high == pytest.approx(1)
    with pytest.raises(UsageError, match=r"^2 values and 3; expected pairs$"):
        spearman_interval([1, 2], [1, 2, 3])


def test_bootstrap_of_items_against_a_loop() -> None:
    values = np.random.default_rng(0).normal(size=(12, 3))
    low, high = bootstrap_items(12, lambda chosen: values[chosen].mean(0), resamples=100, seed=5)
    draws = np.random.default_rng(5)
    means = [values[draws.integers(0, 12, 12)].mean(0) for _ in range(100)]
    assert low == pytest.approx(np.quantile(means, 0.025, axis=0))
    assert high == pytest.approx(np.quantile(means, 0.975, axis=0))
    single = bootstrap_items(12, lambda chosen: values[chosen, 0].mean(), resamples=50)
    assert np.shape(single) == (2,)
    with pytest.raises(UsageError, match=r"^a bootstrap of no items; expected one or more$"):
        bootstrap_items(0, lambda chosen: 0.0)
    with pytest.raises(UsageError, match=r"^9 resamples; expected at least 10$"):
        bootstrap_items(3, lambda chosen: 0.0, resamples=9)


def test_median_interval() -> None:
    assert median_interval([3.0]) == (3, 3, 3)
    assert median_interval([1.0, np.nan, 1.0]) == (1, 1, 1)
    assert np.isnan(median_interval([])).all()
    middle, low, high = median_interval(range(1, 100))
    assert low < middle == 50 < high
    assert bootstrap_interval(np.median, range(1, 100)) == (low, high)
    with pytest.raises(UsageError, match=r"^a bootstrap of a group of one value; expected two"):
        bootstrap_interval(np.median, [1.0], [2.0, 3.0])


@given(st.lists(st.tuples(st.floats(0, 1) | st.just(math.nan), st.integers(0, 4)), min_size=1))
@settings(max_examples=40, deadline=None)
def test_quartiles_by_bin_against_numpy(rows: list[tuple[float, int]]) -> None:
    values, bins = (np.array(column) for column in zip(*rows, strict=True))
    found = quartiles_by_bin(values, bins)
    assert found.bin.tolist() == sorted(set(bins.tolist()))
    for place, one in enumerate(found.bin):
        own = values[bins == one]
        known = own[~np.isnan(own)]
        assert (found.n[place], found.missing[place]) == (len(known), len(own) - len(known))
        if len(known):
            expected = np.quantile(known, [0.25, 0.5, 0.75])
            given = found.q1[place], found.median[place], found.q3[place]
            assert given == pytest.approx(tuple(expected))


def test_bins() -> None:
    places, edges = equal_bins([0.8, 0.9, 1.0], 2, 1.0)
    assert places.tolist() == [0, 0, 1] and edges.tolist() == pytest.approx([0.8, 0.9, 1])
    assert fixed_bins([1.0, 0.975, 0.97, 0.5], 0.025).tolist() == [0, 1, 1, 20]
    with pytest.raises(UsageError, match=r"^bins of width 0: expected more than 0$"):
        fixed_bins([1.0], 0)


def test_summary_by_tau_step() -> None:
    rows = [("reorder", 0.99, 0.1), ("reorder", 0.98, 0.3), ("reverse", 0.9, 0.5)]
    frame = pd.DataFrame([("none", 1.0, 0.0), *rows], columns=["lesion", "kendall_tau", "error"])
    found = summary_by_tau_step(frame)
    assert found.tau.tolist() == [0.9875, 0.8875]
    assert found.n.tolist() == [2, 1] and found["median"].tolist() == pytest.approx([0.2, 0.5])
    assert list(found.columns) == ["tau", "n", "q1", "median", "q3"]
    assert summary_by_tau_step(frame[:1]).empty


def test_the_largest_step_is_a_share_of_the_rise() -> None:
    assert largest_step([0.0, 0.1, 0.2]) == 0.5
    assert largest_step([0.0, math.nan, 0.0, 0.9, 0.9]) == 1
    assert math.isnan(largest_step([0.3, 0.2]))
    assert math.isnan(largest_step([]))
