"""How far a study is, from its store alone: nothing is loaded, nothing is measured."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ensembles.store import Store
from ensembles.studies.kept import Counts, Found
from ensembles.studies.records import Record, opened, read_record
from ensembles.studies.study import Study, Unit
from ensembles.studies.units import kept

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["status"]


def status(study: Study, store: Store | str | Path) -> pd.DataFrame:
    """Say of each unit of a study how much of it there is.

    Args:
        study: The study.
        store: Its store, or the path; it is only read, and need not be there yet.

    Returns:
        One row for each unit, in the study's order: ``model``, ``data``, ``analysis``, ``seed``,
        ``total`` (lesions, or 1 for any other analysis; missing where the network was not opened
        yet), ``done``, ``failed``, ``missing``, ``state`` (``done``, ``part``, ``failed``, or
        ``new`` where nothing was measured) and ``reason`` (of the first failure).

    Raises:
        StoreError: If the store cannot be read.
    """
    import pandas as pd  # noqa: PLC0415 (the command line names executors without it)

    frame = pd.DataFrame(_rows(study, store))
    types = {"seed": "Int64", "total": "Int64", "missing": "Int64"}
    return frame.astype({**types, **dict.fromkeys(("model", "data", "analysis", "state"), "str")})


def _rows(study: Study, store: Store | str | Path) -> list[dict[str, object]]:
    if not isinstance(store, Store) and not Path(store).exists():
        return [_row(unit, None, None) for unit in study.units()]
    with opened(store, "r") as db:
        found = Found.of(db)
        return [_row(unit, read_record(db, study, unit), found) for unit in study.units()]


def _row(unit: Unit, record: Record | None, found: Found | None) -> dict[str, object]:
    about = {
        "model": unit.model.title,
        "data": unit.data.title,
        "analysis": unit.analysis.title,
        "seed": unit.seed,
    }
    if found is None or record is None or not record.context:
        reason = record.failed if record else ""
        counts = {"total": None, "done": 0, "failed": 0, "missing": None}
        return {**about, **counts, "state": "failed" if reason else "new", "reason": reason}
    counted = kept(unit).counts(record, found)
    missing = counted.total - counted.done - counted.failed
    return {
        **about,
        "total": counted.total,
        "done": counted.done,
        "failed": counted.failed,
        "missing": missing,
        "state": _state(counted, missing, record.failed),
        "reason": record.failed or counted.reason,
    }


def _state(counted: Counts, missing: int, reason: str) -> str:
    if not missing and not counted.failed:
        return "done"
    if reason or (counted.failed and not missing):
        return "failed"
    return "part" if counted.done else "new"
