"""McNemar's test and the paired interval, against hand-made tables and scipy."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest

from ensembles.errors import UsageError
from ensembles.lesions import Lesion, intact
from ensembles.statistics import correct_by_image, paired_tests
from ensembles.statistics.shares import paired_difference


def table(both: int, b: int, c: int, neither: int) -> pd.DataFrame:
    """Images that both get right, only the intact one, only the lesioned one, none."""
    whole = [True] * (both + b) + [False] * (c + neither)
    cut = [True] * both + [False] * b + [True] * c + [False] * neither
    columns = pd.MultiIndex.from_tuples([("none", ""), ("delete", "3")], names=["lesion", "blocks"])
    return pd.DataFrame(np.array([whole, cut]).T, columns=columns)


def test_correct_by_image() -> None:
    found = correct_by_image(
        [0, 1, 2],
        {
            intact(): np.array([0, 1, 2], np.int32),
            Lesion("delete", (3, 17)): np.array([0, 0, -1], np.int32),
        },
    )
    assert found.columns.tolist() == [("none", ""), ("delete", "3 17")]
    assert found.to_numpy().tolist() == [[True, True], [True, False], [True, False]]


def test_predictions_of_other_images_are_refused() -> None:
    with pytest.raises(UsageError, match=r"^delete 3: 2 predictions, 3 labels; expected one"):
        correct_by_image([0, 1, 2], {Lesion("delete", (3,)): np.array([0, 1], np.int32)})


def test_mcnemar_by_hand() -> None:
    # 2 * (1 + 10 + 45) / 2^10
    small = paired_tests(table(80, 8, 2, 10)).iloc[0]
    assert (small["only_intact"], small["only_lesioned"], small["test"]) == (8, 2, "exact")
    assert small["p_value"] == pytest.approx(112 / 1024)
    assert small["difference"] == pytest.approx(0.06)
    # (|59 - 6| - 1)^2 / 65 = 41.6, with one degree of freedom
    large = paired_tests(table(100, 59, 6, 16)).iloc[0]
    assert large["test"] == "chi-squared"
    assert large["p_value"] == pytest.approx(1.12e-10, rel=0.01)


def test_networks_that_agree_differ_by_nothing() -> None:
    row = paired_tests(table(5, 0, 0, 3)).iloc[0]
    assert (row["p_value"], row["difference"]) == (1, 0)
    assert row["low"] < 0 < row["high"]


@given(st.tuples(*[st.integers(0, 12)] * 4).filter(any))
@settings(deadline=None)
def test_exact_p_against_scipy(cells: tuple[int, int, int, int]) -> None:
    _, b, c, _ = cells
    row = paired_tests(table(*cells)).iloc[0]
    expected = binomtest(b, b + c).pvalue if b + c else 1
    assert row["p_value"] == pytest.approx(expected)
    assert -1 - 1e-12 <= row["low"] <= row["difference"] <= row["high"] <= 1 + 1e-12


def test_the_interval_of_unrelated_errors_is_the_unpaired_one() -> None:
    row = paired_tests(table(20, 20, 30, 30)).iloc[0]
    low1, high1 = binomtest(50, 100).proportion_ci(method="wilson")
    low2, high2 = binomtest(60, 100).proportion_ci(method="wilson")
    lesioned, whole = 0.5, 0.6
    assert row["difference"] == pytest.approx(lesioned - whole)
    assert row["low"] == pytest.approx(-0.1 - np.hypot(lesioned - low1, high2 - whole))
    assert row["high"] == pytest.approx(-0.1 + np.hypot(high1 - lesioned, whole - low2))


@pytest.mark.parametrize(
    ("cells", "phi"),
    [
        ((50, 5, 5, 40), (50 * 40 - 25 - 50) / (55 * 45)),  # half of n is taken off
        ((20, 12, 13, 9), 0.0),  # agreement below half of n counts as none
        ((10, 30, 35, 25), (10 * 25 - 30 * 35) / np.sqrt(40 * 60 * 45 * 55)),  # disagreement stays
    ],
)  # fmt: skip
def test_the_interval_shrinks_the_correlation_of_errors(
    cells: tuple[int, int, int, int], phi: float
) -> None:
    """Newcombe 1998 (2635), method 10, number by number."""
    both, first, second, neither = cells
    n = sum(cells)
    found = paired_difference(both, first, second, neither)
    one, other = (both + first) / n, (both + second) / n
    low1, high1 = binomtest(both + first, n).proportion_ci(method="wilson")
    low2, high2 = binomtest(both + second, n).proportion_ci(method="wilson")

    def joined(a: float, b: float) -> float:
        return float(np.sqrt(a**2 - 2 * phi * a * b + b**2))

    assert found[0] == pytest.approx(one - other)
    assert found[1] == pytest.approx(one - other - joined(one - low1, high2 - other))
    assert found[2] == pytest.approx(one - other + joined(high1 - one, other - low2))


def test_the_interval_covers() -> None:
    generator = np.random.default_rng(0)
    cells = generator.multinomial(80, [0.7, 0.12, 0.05, 0.13], size=400)
    rows = [paired_tests(table(*counts)).iloc[0] for counts in cells]
    hits = sum(row["low"] <= 0.07 <= row["high"] for row in rows)
    assert 0.92 <= hits / 400 <= 0.99


def test_holm_by_hand() -> None:
    columns = [("none", ""), ("delete", "1"), ("delete", "2"), ("delete", "3")]
    right = np.ones((20, 4), bool)
    right[:6, 1] = False  # p = 2 / 2^6
    right[:8, 2] = False  # p = 2 / 2^8
    right[:1, 3] = False  # p = 1
    found = paired_tests(pd.DataFrame(right, columns=pd.MultiIndex.from_tuples(columns)))
    assert found["p_value"].tolist() == pytest.approx([2 / 64, 2 / 256, 1])
    assert found["p_holm"].tolist() == pytest.approx([4 / 64, 6 / 256, 1])


def test_the_intact_network_is_needed() -> None:
    with pytest.raises(UsageError, match=r"^predictions without the intact network: expected"):
        paired_tests(table(1, 1, 1, 1)[[("delete", "3")]])
    with pytest.raises(UsageError, match=r"^predictions of no image; expected one or more$"):
        paired_tests(table(1, 0, 0, 0)[:0])
