"""What a store remembers of the units of a study: which results are theirs."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ensembles.lesions import Lesion
from ensembles.store import Store
from ensembles.studies.values import Study, Unit

__all__ = ["Record", "keep_study", "mend_records", "opened", "read_record", "write_record"]

_UNIT = "unit "


@dataclass(frozen=True)
class Record:
    """Where the results of a unit lie in a store, once its network was opened.

    Attributes:
        context: Digest of the network and the data; "" where they could not be opened.
        lesions: Kind, blocks and trial of each lesion of a sweep.
        failed: Why the unit could not be measured; "" where nothing is known against it.
    """

    context: str = ""
    lesions: tuple[tuple[str, str, int | None], ...] = ()
    failed: str = ""

    @classmethod
    def of_lesions(cls, context: str, lesions: Iterable[Lesion]) -> Record:
        """The record of a sweep."""
        return cls(context, tuple((one.kind, one.text, one.trial) for one in lesions))


def opened(store: Store | str | Path, mode: Literal["a", "r"]) -> AbstractContextManager[Store]:
    """A store, opened and closed where only its path is given."""
    if isinstance(store, Store):
        return nullcontext(store)
    return Store(store, mode=mode)


def read_record(store: Store, study: Study, unit: Unit) -> Record | None:
    """What a store remembers of a unit; None where it was never opened."""
    return _parsed(store.note(_name(study, unit)))


def write_record(store: Store, study: Study, unit: Unit, record: Record) -> None:
    """Remember something of a unit, in place of what was remembered before."""
    if read_record(store, study, unit) != record:
        store.keep_note(_name(study, unit), vars(record))


def mend_records(store: Store, other: Store) -> None:
    """Where a unit failed here and not in another store, remember what the other one does."""
    for name, value in other.notes():
        if name.startswith(_UNIT) and not value["failed"]:
            known = _parsed(store.note(name))
            if known is None or known.failed:
                store.keep_note(name, value)


def keep_study(store: Store, study: Study) -> None:
    """Remember the study itself, so that the store says what it holds."""
    name, value = f"study {study.name}", study.described()
    if store.note(name) != value:
        store.keep_note(name, value)


def _name(study: Study, unit: Unit) -> str:
    return f"{_UNIT}{study.name} {unit.digest}"


def _parsed(value: Any) -> Record | None:
    if value is None:
        return None
    lesions = tuple((kind, blocks, trial) for kind, blocks, trial in value["lesions"])
    return Record(value["context"], lesions, value["failed"])
