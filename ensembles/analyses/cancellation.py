"""How far the lengths of a table of paths cancel each other, in words."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["CANCELLING", "cancellation_texts", "cancels"]

CANCELLING = 10
"""Times the norm of the sum, above which lengths cancel more than they add."""


def cancels(frame: pd.DataFrame) -> bool:
    """Whether the lengths of a table cancel each other so far that none says what it carries."""
    ratios = (frame.attrs.get("cancellation") or {}).values()
    return any(not ratio < CANCELLING for ratio in ratios)


def cancellation_texts(frame: pd.DataFrame) -> list[str]:
    """A short line for the first place of a table where cancellation is known, for a figure."""
    for ratio in (frame.attrs.get("cancellation") or {}).values():
        doubt = "" if ratio < CANCELLING else ": lengths cancel"
        return [f"cancellation {ratio:,.3g} (1: none){doubt}"]
    return []
