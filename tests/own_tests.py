"""Which members of the open sets are tested by tables of all members, and which by a file each."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

__all__ = ["without_own_test"]


def without_own_test(noun: str, names: Iterable[str]) -> set[str]:
    """The members that have no file ``test_NOUN_NAME.py``, so that tables must hold them."""
    here = Path(__file__).parent
    return {name for name in names if not (here / f"test_{noun}_{name}.py").exists()}
