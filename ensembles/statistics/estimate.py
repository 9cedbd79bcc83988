"""A number with the interval that goes with it."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["Estimate"]


class Estimate(NamedTuple):
    """A number and the ends of its interval.

    Attributes:
        value: The number.
        low: Lower end of its interval; NaN where there is none.
        high: Upper end of its interval.
    """

    value: float
    low: float
    high: float
