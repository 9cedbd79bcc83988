"""The store itself: what is missing, who measures it, and what is added."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal

from ensembles.errors import StoreError, UsageError
from ensembles.store.claims import LEASE, is_alive, new_owner, renewed
from ensembles.store.connection import Connection
from ensembles.store.context import Context
from ensembles.store.reader import Reader, done_in

if TYPE_CHECKING:  # what is told about a store needs neither pandas nor numpy
    import pandas as pd

    from ensembles.engine.outcome import Outcome
    from ensembles.lesions import Lesion

__all__ = ["Claimed", "Merged", "Store"]


@dataclass(frozen=True)
class Claimed:
    """What became of a wish to measure lesions.

    Attributes:
        mine: Lesions that nobody else will measure now.
        taken: Lesions that another process is measuring.
    """

    mine: tuple[Lesion, ...]
    taken: tuple[Lesion, ...]


@dataclass(frozen=True)
class Merged:
    """What came of merging a store into another.

    Attributes:
        added: Lesions and path analyses that were not there.
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
        self._owner = new_owner()
        self._ids: dict[str, dict[tuple[str, str], int]] = {}

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

    # What is missing, and who measures it

    def ask(self, context: Context, lesions: Iterable[Lesion]) -> None:
        """Note which lesions are wanted, and of which draws they are.

        Args:
            context: The network and the data.
            lesions: The lesions; those that were asked for before are noted once.
        """
        wanted = {
            (one.kind, one.text, *((-1, 0) if one.draw is None else one.draw)) for one in lesions
        }
        number = self._keep_context(context)
        rows = self.connection.rows(
            "SELECT kind, blocks, trial, seed FROM lesions JOIN draws ON lesion = id "
            "WHERE context = ?",
            (number,),
        )
        new = sorted(wanted.difference(rows))
        if new:
            with self.connection.transaction(_size(new)) as raw:
                raw.executemany(
                    "INSERT OR IGNORE INTO lesions (context, kind, blocks) VALUES (?, ?, ?)",
                    ((number, kind, blocks) for kind, blocks, _, _ in new),
                )
                raw.executemany(
                    "INSERT OR IGNORE INTO draws SELECT id, ?, ? FROM lesions "
                    "WHERE context = ? AND kind = ? AND blocks = ?",
                    ((trial, seed, number, kind, blocks) for kind, blocks, trial, seed in new),
                )
        known = self.connection.rows(
            "SELECT kind, blocks, id FROM lesions WHERE context = ?", (number,)
        )
        self._ids[context.key.digest] = {(kind, blocks): row for kind, blocks, row in known}

    def missing(
        self, context: Context, lesions: Iterable[Lesion], *, predictions: bool = False
    ) -> list[Lesion]:
        """Which of some lesions were not measured yet, each once and without trial and seed.

        Args:
            context: The network and the data.
            lesions: The lesions.
            predictions: Whether a lesion whose predictions were not kept is missing too.
        """
        from ensembles.store.rows import bare  # noqa: PLC0415 (numpy)

        rows = self.connection.rows(
            f"SELECT kind, blocks FROM lesions JOIN {done_in(predictions)} WHERE context = ?",
            (self._id_of(context),),
        )
        there = set(rows)
        distinct = {(one.kind, one.text): one for one in lesions}
        return [bare(one) for key, one in distinct.items() if key not in there]

    def claim(
        self, context: Context, lesions: Sequence[Lesion], *, predictions: bool = False
    ) -> Claimed:
        """Claim lesions, so that no other process measures them now.

        Args:
            context: The network and the data.
            lesions: Lesions that were asked for (`ask`), by themselves.
            predictions: Whether a lesion whose predictions were not kept is to be measured again.

        Returns:
            Those that are claimed, and those that another process has claimed; what is in neither
            has been measured meanwhile.
        """
        ids = self._ids[context.key.digest]
        mine, taken, until = [], [], time.time() + LEASE
        with self.connection.transaction() as raw:
            done = f"SELECT 1 FROM lesions JOIN {done_in(predictions)} WHERE lesions.id = ?"
            for one in lesions:
                row = ids[one.kind, one.text]
                if raw.execute(done, (row,)).fetchone():
                    continue
                claim = raw.execute(
                    "SELECT owner, expires FROM claims WHERE lesion = ?", (row,)
                ).fetchone()
                if claim and claim[0] != self._owner and is_alive(*claim):
                    taken.append(one)
                    continue
                raw.execute("INSERT OR REPLACE INTO claims VALUES (?, ?, ?)",
                            (row, self._owner, until))  # fmt: skip
                mine.append(one)
        return Claimed(tuple(mine), tuple(taken))

    def release(self) -> None:
        """Let go of what this store has claimed and not added."""
        with self.connection.transaction() as raw:
            raw.execute("DELETE FROM claims WHERE owner = ?", (self._owner,))

    def holding(self) -> AbstractContextManager[None]:
        """Keep the claims alive for as long as a body runs."""
        return renewed(self.path, self._owner)

    # What is added

    def begin(self, provenance: Mapping[str, Any]) -> int:
        """Enter a run.

        Args:
            provenance: How its results are made, as `ensembles.tables.provenance` says.

        Returns:
            The number by which rows refer to it.
        """
        text = json.dumps(provenance, default=str)
        with self.connection.transaction(len(text)) as raw:
            sql, token = "INSERT INTO runs (token, provenance) VALUES (?, ?)", secrets.token_hex(16)
            number = raw.execute(sql, (token, text)).lastrowid
        assert number is not None
        return number

    def add(self, context: Context, outcomes: Iterable[Outcome], run: int) -> int:
        """Add what was measured: all of it or, if the disk is full, nothing.

        Args:
            context: The network and the data.
            outcomes: What came of lesions that were asked for (`ask`).
            run: The number of the run.

        Returns:
            How many lesions were not there before; of the others, the first counts are kept.
        """
        from ensembles.store.outcomes import insert_outcomes  # noqa: PLC0415 (numpy)

        return insert_outcomes(
            self.connection, context, self._ids[context.key.digest], list(outcomes), run
        )

    def fail(self, context: Context, reasons: Mapping[Lesion, str], run: int) -> None:
        """Note lesions that could not be measured, and why.

        Args:
            context: The network and the data.
            reasons: For each lesion, a line.
            run: The number of the run.
        """
        ids = self._ids[context.key.digest]
        with self.connection.transaction() as raw:
            for one, reason in reasons.items():
                row = ids[one.kind, one.text]
                raw.execute("INSERT OR REPLACE INTO failures VALUES (?, ?, ?)", (row, run, reason))
                raw.execute("DELETE FROM claims WHERE lesion = ?", (row,))

    # Path analyses

    def keep_paths(
        self, context: Context, options: Mapping[str, Any], frame: pd.DataFrame, run: int
    ) -> None:
        """Keep a path analysis; one that is there already stays.

        Args:
            context: The network and the data.
            options: What else determines it.
            frame: What `ensembles.paths` made.
            run: The number of the run.
        """
        from ensembles.store.analyses import insert_analysis  # noqa: PLC0415 (pandas)

        insert_analysis(self.connection, self._keep_context(context), options, frame, run)

    # Other stores, and notes

    def merge(self, other: str | Path) -> Merged:
        """Take over what another store holds and this one does not.

        Args:
            other: Path of the other store, which is only read.

        Raises:
            StoreError: If either cannot be read or written.
        """
        from ensembles.store.merger import merge  # noqa: PLC0415 (refers back to here)

        if self.path.exists() and Path(other).exists() and self.path.samefile(other):
            raise StoreError(f"store {other}: cannot be merged into itself; name another one")
        with Store(other, mode="r") as source:
            return Merged(*merge(self.connection, source.connection))

    def keep_note(self, name: str, value: Any) -> None:
        """Keep a JSON value under a name, in place of an older one."""
        text = json.dumps(value)
        with self.connection.transaction(len(text)) as raw:
            raw.execute("INSERT OR REPLACE INTO notes VALUES (?, ?)", (name, text))

    def _keep_context(self, context: Context) -> int:
        found = self._id_of(context)
        if found:
            return found
        row = (context.key.digest, context.key.text, json.dumps(context.about), context.labels)
        with self.connection.transaction(sum(map(len, row))) as raw:
            raw.execute(
                "INSERT OR IGNORE INTO contexts (digest, key, about, labels) VALUES (?, ?, ?, ?)",
                row,
            )
        return self._id_of(context)


def _size(rows: Iterable[tuple[str, str, int, int]]) -> int:
    """About how many bytes rows take."""
    return sum(2 * len(blocks) + 100 for _, blocks, _, _ in rows)
