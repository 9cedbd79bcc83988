"""What a store remembers of the units of a study: which results are theirs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from ensembles.errors import StoreError
from ensembles.store import Store

if TYPE_CHECKING:
    from ensembles.lesions import Lesion
    from ensembles.studies.study import Study, Unit

__all__ = [
    "Record",
    "Wanted",
    "keep_study",
    "mend_records",
    "opened",
    "read_record",
    "write_record",
]  # fmt: skip

_UNIT = "unit "
_ALWAYS = 3
_UNREADABLE = (
    "a store's note of a unit of the study is not as the program writes it; go on from a copy, or "
    "name another store"
)


class Wanted(NamedTuple):
    """A lesion of a sweep.

    Attributes:
        kind: Its kind.
        text: Its text.
        trial: Number of the random draw that it came from.
        seed: Seed of the random draw; None for the unit's.
        material: Digest of what it needs beside the network; "" for nothing.
    """

    kind: str
    text: str
    trial: int | None = None
    seed: int | None = None
    material: str = ""


@dataclass(frozen=True)
class Record:
    """Where the results of a unit lie in a store, once its network was opened.

    Attributes:
        context: Digest of the network and the data; "" where they could not be opened.
        lesions: The lesions of a sweep.
        failed: Why the unit could not be measured; "" where nothing is known against it.
    """

    context: str = ""
    lesions: tuple[Wanted, ...] = ()
    failed: str = ""

    @classmethod
    def of_lesions(
        cls, context: str, lesions: Iterable[Lesion], materials: Mapping[Lesion, str] | None = None
    ) -> Record:
        """The record of a sweep."""
        known = materials or {}
        return cls(context, tuple(_wanted(one, known.get(one, "")) for one in lesions))

    def joined(self, other: Record) -> Record:
        """The record of two units of one network on data, each lesion once."""
        return replace(self, lesions=tuple(dict.fromkeys((*self.lesions, *other.lesions))))


def opened(store: Store | str | Path, mode: Literal["a", "r"]) -> AbstractContextManager[Store]:
    """A store, opened and closed where only its path is given."""
    if isinstance(store, Store):
        return nullcontext(store)
    return Store(store, mode=mode)


def read_record(store: Store, study: Study, unit: Unit) -> Record | None:
    """What a store remembers of a unit; None where it was never opened."""
    for digest in unit.digests:
        found = _parsed(store.note(_name(study, digest)))
        if found is not None:
            return found
    return None


def write_record(store: Store, study: Study, unit: Unit, record: Record) -> None:
    """Remember something of a unit, in place of what was remembered before."""
    name = _name(study, unit.digest)
    if _parsed(store.note(name)) != record:
        store.keep_note(name, _plain(record))


def mend_records(store: Store, other: Store) -> None:
    """Where a unit failed here and not in another store, remember what the other one does."""
    for name, value in other.notes():
        found = _parsed(value) if name.startswith(_UNIT) else None
        if found is not None and not found.failed:
            known = _parsed(store.note(name))
            if known is None or known.failed:
                store.keep_note(name, value)


def keep_study(store: Store, study: Study) -> None:
    """Remember the study itself, so that the store says what it holds."""
    name, value = f"study {study.name}", study.described()
    if store.note(name) != value:
        store.keep_note(name, value)


def _wanted(lesion: Lesion, material: str) -> Wanted:
    trial, seed = lesion.draw or (None, None)
    return Wanted(lesion.kind, lesion.text, trial, seed, material)


def _name(study: Study, digest: str) -> str:
    return f"{_UNIT}{study.name} {digest}"


def _plain(record: Record) -> dict[str, Any]:
    """As JSON holds it, of each lesion without the end that says nothing."""
    lesions = [list(one) for one in record.lesions]
    for row in lesions:
        while len(row) > _ALWAYS and row[-1] in (None, ""):
            row.pop()
    return {"context": record.context, "lesions": lesions, "failed": record.failed}


def _parsed(value: Any) -> Record | None:
    if value is None:
        return None
    try:
        record = Record(
            value["context"], tuple(Wanted(*row) for row in value["lesions"]), value["failed"]
        )
    except (TypeError, KeyError) as error:
        raise StoreError(_UNREADABLE) from error
    told = isinstance(record.context, str) and isinstance(record.failed, str)
    found = [set(map(type, column)) for column in zip(*record.lesions, strict=True)]
    number: set[type] = {int, type(None)}
    wanted: tuple[set[type], ...] = ({str}, {str}, number, number, {str})
    if not told or not all(types <= known for types, known in zip(found, wanted, strict=False)):
        raise StoreError(_UNREADABLE)
    return record
