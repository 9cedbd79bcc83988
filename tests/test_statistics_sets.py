"""Jackknife intervals and functions of sets, against their definitions written out."""

from __future__ import annotations

from itertools import combinations, permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ensembles.errors import UsageError
from ensembles.statistics import jackknife
from ensembles.statistics.set_functions import (
    energy_of_first_order,
    exact_energies,
    exact_shapley,
)

numbers = st.floats(-5, 5, allow_nan=False, width=32)


@settings(max_examples=30, deadline=None)
@given(st.lists(numbers, min_size=3, max_size=12))
def test_the_jackknife_of_a_mean_is_its_usual_interval(values: list[float]) -> None:
    parts = np.stack([np.array(values), np.ones(len(values))], 1)
    found = jackknife(lambda s: s[0] / s[1], parts)
    error = np.std(values, ddof=1) / np.sqrt(len(values))
    from scipy.stats import t

    far = t.ppf(0.975, len(values) - 1) * error
    assert found.value == pytest.approx(np.mean(values), abs=1e-6)
    assert found.high - found.value == pytest.approx(far, abs=1e-6)
    assert found.value - found.low == pytest.approx(far, abs=1e-6)


def test_a_jackknife_holds_what_it_should_and_says_where_it_cannot() -> None:
    draw, held = np.random.default_rng(0), 0
    for _ in range(300):
        parts = draw.exponential(size=(32, 20, 2)).sum(1)
        found = jackknife(lambda s: s[0] / s[1], parts)
        held += bool(found.low <= 1 <= found.high)
    assert 0.91 <= held / 300 <= 0.99
    one = jackknife(lambda s: s, [[2.0, 3.0]])
    assert one.value.tolist() == [2, 3] and np.isnan(one.low).all()
    broken = jackknife(lambda s: 1 / (s - 1) if s != 1 else np.inf, [1.0, 1.0, 0.0])
    assert np.isnan(broken.low)
    with pytest.raises(UsageError, match="a jackknife of no part"):
        jackknife(lambda s: s, np.empty((0, 2)))


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 4), st.data())
def test_shapley_values_are_means_over_all_orders(n: int, data: st.DataObject) -> None:
    values = np.array(data.draw(st.lists(numbers, min_size=2**n, max_size=2**n)))
    orders = list(permutations(range(n)))
    wanted = np.zeros(n)
    for order in orders:
        code = 0
        for item in order:
            wanted[item] += values[code | 1 << item] - values[code]
            code |= 1 << item
    found = exact_shapley(n, values)
    assert found == pytest.approx(wanted / len(orders), abs=1e-6)
    assert found.sum() == pytest.approx(values[-1] - values[0], abs=1e-6)


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 4), st.floats(0.05, 0.95), st.data())
def test_energies_are_squared_coefficients_written_out(
    n: int, share: float, data: st.DataObject
) -> None:
    values = np.array(data.draw(st.lists(numbers, min_size=2**n, max_size=2**n)))
    inside = np.array([[code >> item & 1 for item in range(n)] for code in range(2**n)])
    weights = np.prod(np.where(inside, share, 1 - share), axis=1)
    one = (inside - share) / np.sqrt(share * (1 - share))
    wanted = np.zeros(n)
    for order in range(1, n + 1):
        for some in combinations(range(n), order):
            wanted[order - 1] += (weights * values * one[:, list(some)].prod(1)).sum() ** 2
    found = exact_energies(n, values, share)
    if wanted.sum() < 1e-6:
        return
    assert found == pytest.approx(wanted / wanted.sum(), abs=1e-4)


def test_the_energy_of_some_sets_is_a_mean_over_pairs_and_has_no_bias() -> None:
    draw, n, share = np.random.default_rng(1), 5, 0.3
    inside = draw.random((40, n)) < share
    values = draw.normal(size=40)
    one = (inside - share) / np.sqrt(share * (1 - share))
    terms = one * (values - values.mean())[:, None]
    pairs = [terms[a] @ terms[b] for a in range(40) for b in range(40) if a != b]
    found = energy_of_first_order(inside, values, share)
    assert found.value == pytest.approx(np.mean(pairs) / values.var(ddof=1))
    table = draw.normal(size=2**n)  # all orders, of a known share
    wanted = exact_energies(n, table, share)[0]
    seen = []
    for _ in range(200):
        sets = draw.random((200, n)) < share
        seen.append(energy_of_first_order(sets, table[sets @ 2 ** np.arange(n)], share).value)
    assert np.mean(seen) == pytest.approx(wanted, abs=4 * np.std(seen) / np.sqrt(200) + 0.01)
