"""The tables of a study, held against those of another store."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
from pandas.testing import assert_frame_equal

from ensembles.studies import Study, tables


def plain(frame: pd.DataFrame) -> pd.DataFrame:
    """A table without what differs from run to run."""
    other = frame.copy()
    other.attrs = {}
    return other


def assert_same_tables(study: Study, one: Path, other: Path) -> list[str]:
    """Hold that two stores of a study export the same tables; the names of these."""
    here, there = tables(study, one), tables(study, other)
    assert list(here) == list(there)
    for name, table in here.items():
        assert_frame_equal(plain(table), plain(there[name]))
    return list(here)
