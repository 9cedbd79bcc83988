"""How far a study is, from its store alone: nothing is loaded, nothing is measured."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from ensembles.analyses.path_options import PathOptions
from ensembles.store import Context, Store
from ensembles.studies.registry import Record, opened, read_record
from ensembles.studies.values import Study, Sweep, Unit

__all__ = ["status"]


def status(study: Study, store: Store | str | Path) -> pd.DataFrame:
    """Say of each unit of a study how much of it there is.

    Args:
        study: The study.
        store: Its store, or the path; it is only read, and need not be there yet.

    Returns:
        One row for each unit, in the study's order: ``model``, ``data``, ``task``, ``seed``,
        ``total`` (lesions, or 1 for a path analysis; missing where the network was not opened
        yet), ``done``, ``failed``, ``missing``, ``state`` (``done``, ``part``, ``failed``, or
        ``new`` where nothing was measured) and ``reason`` (of the first failure).

    Raises:
        StoreError: If the store cannot be read.
    """
    frame = pd.DataFrame(_rows(study, store))
    types = {"seed": "Int64", "total": "Int64", "missing": "Int64"}
    return frame.astype({**types, **dict.fromkeys(("model", "data", "task", "state"), "str")})


def _rows(study: Study, store: Store | str | Path) -> list[dict[str, object]]:
    if not isinstance(store, Store) and not Path(store).exists():
        return [_row(unit, None, None) for unit in study.units()]
    with opened(store, "r") as db:
        known = _Known(db, {context.key.digest: context for context in db.contexts()})
        return [_row(unit, read_record(db, study, unit), known) for unit in study.units()]


@dataclass
class _Known:
    """What a store holds of each context, read once."""

    store: Store
    contexts: Mapping[str, Context]
    _measured: dict[tuple[str, bool], set[tuple[str, str]]] = field(default_factory=dict)
    _failures: dict[str, dict[tuple[str, str], str]] = field(default_factory=dict)

    def measured(self, digest: str, predictions: bool) -> set[tuple[str, str]]:
        """Kind and blocks of the lesions that are there."""
        if (digest, predictions) not in self._measured and digest in self.contexts:
            context = self.contexts[digest]
            found = self.store.measured(context, predictions=predictions)
            self._measured[digest, predictions] = found
        return self._measured.get((digest, predictions), set())

    def failures(self, digest: str) -> dict[tuple[str, str], str]:
        """Why lesions could not be measured."""
        if digest not in self._failures and digest in self.contexts:
            found = self.store.failures(self.contexts[digest])
            self._failures[digest] = {(one.kind, one.text): why for one, why in found.items()}
        return self._failures.get(digest, {})

    def has_paths(self, digest: str, options: PathOptions) -> bool:
        """Whether a path analysis is there."""
        context = self.contexts.get(digest)
        return context is not None and (
            self.store.analysis(context, "paths", options.determining) is not None
        )


def _row(unit: Unit, record: Record | None, known: _Known | None) -> dict[str, object]:
    about = {
        "model": unit.model.title,
        "data": unit.data.title,
        "task": unit.task.title,
        "seed": unit.seed,
    }
    if known is None or record is None or not record.context:
        reason = record.failed if record else ""
        counts = {"total": None, "done": 0, "failed": 0, "missing": None}
        return {**about, **counts, "state": "failed" if reason else "new", "reason": reason}
    if isinstance(unit.task, Sweep):
        lesions = [(kind, blocks) for kind, blocks, _ in record.lesions]
        total, done = (
            len(lesions),
            _among(lesions, known.measured(record.context, unit.predictions)),
        )
        reasons = known.failures(record.context)
        failed = _among(lesions, reasons)
        first = next((reasons[one] for one in lesions if one in reasons), "")
    else:
        total, done, failed, first = 1, int(known.has_paths(record.context, unit.options)), 0, ""
    missing = total - done - failed
    return {
        **about,
        **{"total": total, "done": done, "failed": failed, "missing": missing},
        "state": _state(done, failed, missing, record.failed),
        "reason": record.failed or first,
    }


def _state(done: int, failed: int, missing: int, reason: str) -> str:
    if not missing and not failed:
        return "done"
    if reason or (failed and not missing):
        return "failed"
    return "part" if done else "new"


def _among(lesions: Iterable[tuple[str, str]], known: Iterable[tuple[str, str]]) -> int:
    return sum(one in known for one in lesions)
