"""Means with Student's interval, and differences with Welch's, against scipy's tests."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from ensembles.errors import UsageError
from ensembles.statistics import difference_of_means, mean_interval


def test_student() -> None:
    values = [0.31, 0.27, 0.4, np.nan, 0.33]
    known = [value for value in values if not np.isnan(value)]
    expected = stats.ttest_1samp(known, 0).confidence_interval(0.9)
    found = mean_interval(values, 0.9)
    assert found == pytest.approx((np.mean(known), expected.low, expected.high))


def test_welch() -> None:
    first, second = [0.31, 0.27, 0.4], [0.1, 0.2, 0.15, 0.11]
    expected = stats.ttest_ind(first, second, equal_var=False).confidence_interval()
    found = difference_of_means(first, second)
    assert found.value == pytest.approx(np.mean(first) - np.mean(second))
    assert found[1:] == pytest.approx((expected.low, expected.high))


def test_what_few_values_leave_open() -> None:
    assert np.isnan(mean_interval([])).all()
    assert mean_interval([2.0])[0] == 2 and np.isnan(mean_interval([2.0])[1:]).all()
    assert np.isnan(difference_of_means([], [1.0])).all()
    assert difference_of_means([2.0], [1.0])[0] == 1
    assert np.isnan(difference_of_means([2.0], [1.0, 3.0])[1:]).all()
    for wrong in (0, 1):
        with pytest.raises(UsageError, match="expected a number between 0 and 1"):
            mean_interval([1, 2], wrong)
