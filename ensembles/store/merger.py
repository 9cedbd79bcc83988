"""One store is taken over into another."""

from __future__ import annotations

import sqlite3
from collections import Counter
from typing import Any

from ensembles.store.connection import Connection

__all__ = ["merge"]


def merge(target: Connection, source: Connection) -> tuple[int, int, int]:
    """Insert what is missing, in one transaction.

    Args:
        target: The store that grows.
        source: The store that is read.

    Returns:
        How many lesions and analyses were added, were there alike, and were there with other
        counts, which are kept.
    """
    merging = _Merging(source)
    with target.transaction(2 * source.path.stat().st_size) as raw:
        merging.into(raw)
    counted = merging.counted
    return counted["added"], counted["known"], counted["different"]


class _Merging:
    """Numbers of the source, and what they are in the target."""

    def __init__(self, source: Connection) -> None:
        self.source = source
        self.counted: Counter[str] = Counter()

    def into(self, raw: sqlite3.Connection) -> None:
        """Insert contexts and runs, then what refers to them."""
        contexts = self._numbers(raw, "contexts", "digest", ("key", "about", "labels"))
        runs = self._numbers(raw, "runs", "token", ("provenance",))
        for old, new in contexts.items():
            lesions = self._lesions(raw, old, new)
            self._outcomes(raw, old, lesions, runs)
            self._analyses(raw, old, new, runs)
        notes = self.source.rows("SELECT name, value FROM notes")
        raw.executemany("INSERT OR IGNORE INTO notes VALUES (?, ?)", notes)

    def _numbers(
        self, raw: sqlite3.Connection, table: str, name: str, others: tuple[str, ...]
    ) -> dict[int, int]:
        columns = ", ".join((name, *others))
        marks = ", ".join("?" * (1 + len(others)))
        found = {}
        for number, *values in self.source.rows(f"SELECT id, {columns} FROM {table} ORDER BY id"):
            raw.execute(f"INSERT OR IGNORE INTO {table} ({columns}) VALUES ({marks})", values)
            [new] = raw.execute(f"SELECT id FROM {table} WHERE {name} = ?", (values[0],)).fetchone()
            found[number] = new
        return found

    def _lesions(self, raw: sqlite3.Connection, old: int, new: int) -> dict[int, int]:
        rows = self.source.rows(
            "SELECT id, kind, blocks FROM lesions WHERE context = ? ORDER BY id", (old,)
        )
        raw.executemany(
            "INSERT OR IGNORE INTO lesions (context, kind, blocks) VALUES (?, ?, ?)",
            ((new, kind, blocks) for _, kind, blocks in rows),
        )
        known = raw.execute("SELECT kind, blocks, id FROM lesions WHERE context = ?", (new,))
        numbers = {(kind, blocks): number for kind, blocks, number in known}
        lesions = {number: numbers[kind, blocks] for number, kind, blocks in rows}
        draws = self.source.rows(
            "SELECT lesion, trial, seed FROM draws JOIN lesions ON id = lesion WHERE context = ?",
            (old,),
        )
        raw.executemany(
            "INSERT OR IGNORE INTO draws VALUES (?, ?, ?)",
            ((lesions[lesion], trial, seed) for lesion, trial, seed in draws),
        )
        return lesions

    def _outcomes(
        self, raw: sqlite3.Connection, old: int, lesions: dict[int, int], runs: dict[int, int]
    ) -> None:
        rows = self.source.rows(
            "SELECT outcomes.*, class_correct, predictions FROM lesions "
            "JOIN outcomes ON outcomes.lesion = lesions.id "
            "LEFT JOIN details ON details.lesion = lesions.id WHERE context = ?",
            (old,),
        )
        for lesion, run, *counts, class_correct, predictions in rows:
            row = lesions[lesion]
            there = raw.execute(
                "SELECT correct, total, nonfinite, predictions IS NULL FROM outcomes "
                "LEFT JOIN details USING (lesion) WHERE lesion = ?",
                (row,),
            ).fetchone()
            adds = there is not None and there[3] and predictions is not None
            self._count(there, counts)
            if there is None or adds:
                values = (row, runs[run], *counts)
                raw.execute("INSERT OR REPLACE INTO outcomes VALUES (?, ?, ?, ?, ?, ?)", values)
                raw.execute("DELETE FROM failures WHERE lesion = ?", (row,))
                if class_correct is not None:
                    details = (row, class_correct, predictions)
                    raw.execute("INSERT OR REPLACE INTO details VALUES (?, ?, ?)", details)

    def _count(self, there: Any, counts: list[Any]) -> None:
        correct, total, _, nonfinite = counts
        if there is None:
            self.counted["added"] += 1
        else:
            alike = there[:3] == (correct, total, nonfinite)
            self.counted["known" if alike else "different"] += 1

    def _analyses(self, raw: sqlite3.Connection, old: int, new: int, runs: dict[int, int]) -> None:
        analyses = self.source.rows(
            "SELECT id, options, run, attrs FROM analyses WHERE context = ? ORDER BY id", (old,)
        )
        for number, options, run, attrs in analyses:
            added = raw.execute(
                "INSERT OR IGNORE INTO analyses (context, options, run, attrs) VALUES (?, ?, ?, ?)",
                (new, options, runs[run], attrs),
            )
            self.counted["added" if added.rowcount else "known"] += 1
            if added.rowcount:
                rows = self.source.rows(
                    "SELECT position, length, place, numbers FROM path_rows WHERE analysis = ?",
                    (number,),
                )
                raw.executemany(
                    "INSERT INTO path_rows VALUES (?, ?, ?, ?, ?)",
                    ((added.lastrowid, *row) for row in rows),
                )
