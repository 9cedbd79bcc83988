"""The store itself: what is asked of it, and what is added."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal

from ensembles.errors import StoreError, UsageError
from ensembles.store import notes, runs
from ensembles.store.asked import Asked
from ensembles.store.claims import new_owner
from ensembles.store.connection import Connection
from ensembles.store.contexts import keep_context
from ensembles.store.examination import examine, glance
from ensembles.store.kept_metrics import USUAL, names_of
from ensembles.store.key import Context
from ensembles.store.lesions import ask_for
from ensembles.store.reader import Reader

if TYPE_CHECKING:  # what is told about a store needs neither pandas nor numpy
    import pandas as pd

    from ensembles.lesions import Lesion
    from ensembles.metrics import Metric

__all__ = ["Merged", "Store"]


@dataclass(frozen=True)
class Merged:
    """What came of merging a store into another.

    Attributes:
        added: Lesions and analyses that were not there, or lacked a metric that came.
        known: Those that were there already, with the same counts.
        different: Those that were there with other counts, which are kept: they were measured on
            other devices or versions of torch, and round otherwise.
    """

    added: int
    known: int
    different: int


class Store(Reader):
    """A file of results.

    Args:
        path: The file; made where there is none.
        mode: "a" to add to it, "r" to read only.

    Raises:
        StoreError: If the file is no store, of another version, or cannot be opened or made.
        UsageError: If the mode is neither.
    """

    def __init__(self, path: str | Path, *, mode: Literal["a", "r"] = "a") -> None:
        if mode not in ("a", "r"):
            raise UsageError(f"mode '{mode}' of a store; expected a or r")
        self.path = Path(path)
        self.connection = Connection(self.path, write=mode == "a")
        try:
            glance(self.connection)
        except BaseException:
            self.connection.close()
            raise
        self._owner = new_owner()

    def __enter__(self) -> Store:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file; nothing is lost without."""
        self.connection.close()

    def ask(
        self,
        context: Context,
        lesions: Iterable[Lesion],
        *,
        metrics: str | Metric | Iterable[str | Metric] = USUAL,
        materials: Mapping[Lesion, str] | None = None,
        predictions: bool = False,
    ) -> Asked:
        """Ask for results of lesions: enter those that are not there, and their draws.

        Args:
            context: The network and the data.
            lesions: The lesions; one that was drawn several times is measured once.
            metrics: Metrics, or their names; all of them are wanted of every lesion.
            materials: For each lesion that needs something beside the network, the digest of it, as
                `ensembles.engine.materials.Materials.digest` makes it.
            predictions: Whether the predicted class of each observation is wanted too.

        Returns:
            What is missing, and the way to add it.

        Raises:
            UsageError: If a metric is unknown, or a lesion needs something that no digest is of.
            StoreError: If the store cannot be written.
        """
        names = names_of(metrics)
        wanted, digests = list(lesions), materials or {}
        for one in wanted:
            if one.needs and one not in digests:
                raise UsageError(
                    f"{one.kind} {one.text} needs something beside the network; give its digest "
                    "in materials="
                )
        number = keep_context(self.connection, context)
        rows = ask_for(self.connection, number, wanted, digests)
        return Asked(
            self.connection,
            context,
            rows,
            metrics=names,
            predictions=predictions,
            owner=self._owner,
        )

    def begin(self, provenance: Mapping[str, Any]) -> int:
        """Enter a run.

        Args:
            provenance: How its results are made, as `ensembles.tables.provenance` says.

        Returns:
            The number by which rows refer to it.
        """
        return runs.begin_run(self.connection, provenance)

    def keep_analysis(
        self,
        context: Context,
        name: str,
        options: Mapping[str, Any],
        frame: pd.DataFrame,
        run: int,
    ) -> None:
        """Keep the table of an analysis; one that is there already stays.

        Args:
            context: The network and the data.
            name: Name of the analysis.
            options: What else determines it, as JSON holds it.
            frame: The table.
            run: The number of the run.
        """
        from ensembles.store import analyses, analysis_frames  # noqa: PLC0415 (pandas)

        found = analysis_frames.analysis_from(name, options, frame, run)
        number = keep_context(self.connection, context)
        analyses.keep_analysis(self.connection, number, found)

    def keep_note(self, name: str, value: Any) -> None:
        """Keep a JSON value under a name, in place of an older one."""
        notes.keep_note(self.connection, name, value)

    def drop_notes(self, prefix: str) -> None:
        """Drop the values that were kept under names that begin so."""
        notes.drop_notes(self.connection, prefix)

    def check(self) -> dict[str, int]:
        """Examine all that there is: SQLite's structure, every row, whether the numbers can be.

        Returns:
            How many rows each table has.

        Raises:
            StoreError: Saying what is not as the program made it, or cannot be.
        """
        return dict(examine(self.connection))

    def merge(self, other: str | Path) -> Merged:
        """Take over what another store holds and this one does not.

        Args:
            other: Path of the other store, which is only read.

        Raises:
            StoreError: If either cannot be read or written, or the other one holds what this
                program did not make.
        """
        from ensembles.store.merger import merge  # noqa: PLC0415 (numpy)
        from ensembles.store.outcomes import Verdict  # noqa: PLC0415 (numpy)

        if self.path.exists() and Path(other).exists() and self.path.samefile(other):
            raise StoreError(f"store {other}: cannot be merged into itself; name another one")
        with Store(other, mode="r") as source:
            source.check()
            counted = merge(self.connection, source.connection)
        return Merged(*(counted[one] for one in (Verdict.NEW, Verdict.KNOWN, Verdict.DIFFERENT)))
