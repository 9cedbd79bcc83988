"""How the results of a unit are kept in a store: lesion by lesion, or as one table."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from ensembles.studies.records import Record

if TYPE_CHECKING:
    import pandas as pd

    from ensembles.checkpoints import Subject
    from ensembles.progress import Progress
    from ensembles.store import Context, Store
    from ensembles.studies.study import Study, Unit
    from ensembles.studies.workers.parts import Part

__all__ = ["Counts", "Done", "Found", "How", "Kept", "Prepared"]


class Prepared(NamedTuple):
    """What a unit consists of, once its network was opened.

    Attributes:
        record: Where its results lie.
        missing: What the store lacks of it; of two units that share something, alike.
    """

    record: Record
    missing: tuple[Hashable, ...]


class Done(NamedTuple):
    """What came of measuring a unit.

    Attributes:
        measured: How many lesions, or tables, were measured now.
        summary: The same in a few words.
    """

    measured: int
    summary: str


class Counts(NamedTuple):
    """How much of a unit there is.

    Attributes:
        total: Lesions, or 1 for a table.
        done: How many of them are there.
        failed: How many could not be measured.
        reason: Why the first of these could not.
    """

    total: int
    done: int
    failed: int = 0
    reason: str = ""


@dataclass(frozen=True)
class How:
    """How a unit is measured, wherever that is.

    Attributes:
        study: The study that it belongs to.
        device: "auto", "cpu", "cuda", "cuda:1" or "mps".
        batch_size: Rows at a time; by default as many as suit the device.
        progress: Whether to show a bar, by default only on a terminal; or a function to tell.
        part: Which part of the lesions is measured; None for all.
        known: Kind and text of lesions that another store has.
    """

    study: Study
    device: str = "auto"
    batch_size: int | None = None
    progress: bool | Progress | None = None
    part: Part | None = None
    known: frozenset[tuple[str, str]] = frozenset()


@dataclass
class Found:
    """What a store holds of its networks and data, read once for many units.

    Attributes:
        store: The store.
        contexts: What there are results of, by digest.
        read: What was read before, by whoever reads it.
    """

    store: Store
    contexts: Mapping[str, Context]
    read: dict[Hashable, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, store: Store) -> Found:
        """Read the contexts of a store."""
        return cls(store, {context.key.digest: context for context in store.contexts()})


class Kept(ABC):
    """The results of a unit in a store.

    Args:
        unit: The unit.

    Attributes:
        by_lesion: Whether they are kept lesion by lesion.
    """

    by_lesion: bool

    def __init__(self, unit: Unit) -> None:
        self.unit = unit

    @abstractmethod
    def prepare(self, subject: Subject, store: Store, how: How) -> Prepared:
        """Find out what the unit consists of, and how much of it is missing."""

    @abstractmethod
    def measure(self, subject: Subject, store: Store, how: How) -> Done:
        """Measure what is missing."""

    @abstractmethod
    def counts(self, record: Record, found: Found) -> Counts:
        """How much of it there is."""

    @property
    @abstractmethod
    def table(self) -> str:
        """Name of the table of the study that its rows stand in."""

    @abstractmethod
    def group(self, record: Record) -> Hashable:
        """Units that have this alike make one table together."""

    def known(self, record: Record, found: Found) -> tuple[tuple[str, str], ...]:
        """Kind and text of lesions that are there and need not be measured elsewhere."""
        return ()

    def own(self, record: Record) -> Record:
        """The record with what only this unit knows, so that it may be joined with others."""
        return record

    @abstractmethod
    def frame(self, record: Record, found: Found) -> pd.DataFrame | None:
        """The rows of a record, as the call returns them that it stands for; None for none."""

    @abstractmethod
    def labels(self, frame: pd.DataFrame) -> dict[str, Any]:
        """Columns that tell its rows from those of other units of the table."""

    def _materials(self, subject: Subject, how: How) -> dict[str, Any]:
        """What lesions may need, as every call takes it."""
        sources, place = subject.sources, how.study.place
        return {**subject.materials, "sources": lambda name: sources(str(place(name)))}

    def _where(self, how: How) -> dict[str, Any]:
        """Where and how a call runs."""
        return {
            "batch_size": how.batch_size,
            "device": how.device,
            "precision": self.unit.precision,
        }

    def _told(self, subject: Subject, how: How) -> dict[str, Any]:
        """What a call tells while it runs, and in its provenance."""
        return {
            "progress": how.progress,
            "model": self.unit.model.title,
            "about": {"checkpoint": subject.card.name, "study": how.study.name},
        }
