"""What workers have published comes into the main store."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from ensembles.errors import StoreError
from ensembles.store import Store
from ensembles.studies.records import Record, mend_records, read_record, write_record
from ensembles.studies.workers.scratch_folder import scratch_folder
from ensembles.studies.workers.work_folder import (
    PartName,
    Result,
    Task,
    WorkFolder,
    parts_of,
    work_folder,
)

if TYPE_CHECKING:
    from ensembles.studies.study import Study

__all__ = ["Intake", "place_of", "take_in"]

_TAKEN, _PLACE = "taken", "work folder"


@dataclass
class Intake:
    """Takes new files of a folder into a store, each once.

    Args:
        study: The study.
        store: The main store, open for writing; this is its only writer.
        folder: The shared folder.
        tell: Takes a line on what is odd.
        patience: Seconds in which a file that is not whole may become so.
        clock: Seconds that never run backwards.

    Attributes:
        set_aside: How many damaged files were set aside.
    """

    study: Study
    store: Store
    folder: WorkFolder
    tell: Callable[[str], None]
    patience: float = 60.0
    clock: Callable[[], float] = time.monotonic

    def __post_init__(self) -> None:
        self._units = {Task.key_of(unit.digest): unit for unit in self.study.units()}
        self._taken: set[str] = set()
        self._settled: set[PartName] = set()
        self.set_aside = 0
        self._late: dict[str, float] = {}
        self._failed: dict[PartName, str] = {}

    def take(self) -> int:
        """Take what is new.

        Returns:
            How many files were taken.

        Raises:
            StoreError: If the main store cannot be written.
        """
        new = [one for one in self.folder.results() if one.path.name not in self._taken]
        taken = 0
        if new:
            with scratch_folder() as place:
                taken = sum(self._take(result, place) for result in new)
        for part, reason in self.folder.failures().items():
            if self._failed.get(part) != reason:
                self._failed[part] = reason
                self._note_failure(part, reason)
        return taken

    def _take(self, result: Result, place: Path) -> bool:
        """Take one file, unless it was taken before or is damaged; whether it was taken now."""
        note = f"{_TAKEN} {result.path.name}"
        new = self.store.note(note) is None
        if new:
            fetched = result.fetch(place)
            if fetched is None:
                self._damaged(result)
                return False
            self._merge(fetched, result.part)
            self.store.keep_note(note, 1)
        self._taken.add(result.path.name)
        self._late.pop(result.path.name, None)
        if result.whole:
            self._settled.add(result.part)
        return new

    @property
    def settled(self) -> frozenset[PartName]:
        """The parts of which all that was measured is in the store."""
        return frozenset(self._settled)

    @property
    def waits(self) -> bool:
        """Whether there are files that are not whole yet."""
        return bool(self._late)

    def _merge(self, path: Path, part: PartName) -> None:
        merged = self.store.merge(path)
        with Store(path, mode="r") as other:
            mend_records(self.store, other)
        if merged.different:
            unit = self._units.get(part.key)
            self.tell(
                f"{unit.title if unit else part}: {merged.different} results differ from those "
                "that were there, which are kept: the machines round otherwise"
            )

    def _damaged(self, result: Result) -> None:
        """A file that is not what its worker wrote: a late one is waited for, then set aside."""
        now = self.clock()
        if now - self._late.setdefault(result.path.name, now) < self.patience:
            return
        del self._late[result.path.name]
        self.set_aside += 1
        unit = self._units.get(result.part.key)
        self.tell(
            f"{unit.title if unit else result.part}: a file of results is damaged and was set "
            f"aside; its part is measured again ({result.path})"
        )
        with suppress(OSError):
            self.folder.set_aside(result)

    def _note_failure(self, part: PartName, reason: str) -> None:
        unit = self._units.get(part.key)
        if unit is not None:
            known = read_record(self.store, self.study, unit) or Record()
            write_record(self.store, self.study, unit, replace(known, failed=reason))
            self.tell(f"{unit.title}: failed: {reason}")

    def measure_again(self, keys: Iterable[str]) -> None:
        """Let tasks be measured again of which the store lacks something though all was taken.

        Results do not hold what another store had before, which may be gone since.
        """
        splits = self.folder.splits()
        for key in keys:
            if key in splits and self._settled.issuperset(parts_of(key, splits)):
                self.folder.open_anew(key)
                self._settled = {part for part in self._settled if part.key != key}

    def forget_failures(self) -> None:
        """Let what failed be tried again."""
        self.folder.forget_failures()
        self._failed.clear()

    def remember_place(self) -> None:
        """Remember where the folder lies, so that whoever has the store finds it."""
        name, value = f"{_PLACE} {self.study.name}", str(self.folder.root.resolve())
        if self.store.note(name) != value:
            self.store.keep_note(name, value)


def place_of(study: Study, store: Store | str | Path) -> WorkFolder:
    """The folder through which a store was filled; where none is remembered, the usual one."""
    usual = work_folder(study, store)
    try:
        if isinstance(store, Store):
            found = store.note(f"{_PLACE} {study.name}")
        elif Path(store).exists():
            with Store(store, mode="r") as opened:
                found = opened.note(f"{_PLACE} {study.name}")
        else:
            found = None
    except StoreError:
        return usual
    return WorkFolder(found) if isinstance(found, str) else usual


def take_in(
    study: Study, store: str | Path, tell: Callable[[str], None] | None = None
) -> WorkFolder | None:
    """Take into a store what workers have published of a study meanwhile.

    Args:
        study: The study.
        store: The path of its store.
        tell: Takes a line on what is odd.

    Returns:
        The folder that workers share; None where none have worked.

    Raises:
        StoreError: If the store cannot be written.
    """
    folder = place_of(study, store)
    if not folder.exists:
        return None
    if folder.results():
        with Store(store) as opened:
            Intake(study, opened, folder, tell or (lambda _line: None)).take()
    return folder
