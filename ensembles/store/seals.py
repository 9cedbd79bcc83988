"""The checksum that each row of a store carries; it is held against the row when it is read.

It finds what went wrong by itself, a flipped bit or a row that was edited by hand. It is no
signature: whoever can write the file can write a checksum too, and what such a row says is held
against what can be true (`ensembles.store.possible`).
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from marshal import dumps
from typing import Any, NamedTuple
from zlib import crc32

__all__ = ["DamageError", "Rows", "checksum", "next_number", "sealed"]

_WRITTEN = 2
"""The version of marshal's form, which has been what it is since 2006."""


class DamageError(Exception):
    """A row is not what the program wrote, in words that follow the name of the store."""


def checksum(*row: Any) -> int:
    """CRC-32 of the values of a row, in order, and of their types.

    >>> checksum(3, "top1", b"x")
    1163522432
    """
    return crc32(dumps(row, _WRITTEN))


def sealed(*row: Any) -> tuple[Any, ...]:
    """A row with its checksum as the last value."""
    return (*row, crc32(dumps(row, _WRITTEN)))


def next_number(raw: sqlite3.Connection, table: str) -> int:
    """The number of the next row, in a transaction that keeps others from adding one."""
    [number] = raw.execute(f"SELECT coalesce(max(id), 0) + 1 FROM {table}").fetchone()
    return int(number)


class Rows(NamedTuple):
    """What the rows of a table hold.

    Attributes:
        table: Its name.
        types: Type of each column, but for the checksum.
    """

    table: str
    types: tuple[type, ...]

    def read(self, rows: Iterable[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
        """Rows as they were sealed, without their checksums.

        Args:
            rows: All columns of the table, in their order.

        Raises:
            DamageError: If a value has another type, or the checksum is another row's.
        """
        expected, found = (*self.types, int), []
        for row in rows:
            values = row[:-1]
            if tuple(map(type, row)) != expected:
                raise DamageError(self._mistyped(row, expected))
            if crc32(dumps(values, _WRITTEN)) != row[-1]:
                raise DamageError(f"{self.told(values)} is not what its checksum says")
            found.append(values)
        return found

    def told(self, row: tuple[Any, ...]) -> str:
        """A row in a few words: its table, and what begins it."""
        first = [ascii(value) for value in row[:2] if not isinstance(value, bytes)]
        return f"row {' '.join(one[:40] for one in first)} of the table {self.table}"

    def _mistyped(self, row: tuple[Any, ...], expected: tuple[type, ...]) -> str:
        place = next(i for i, value in enumerate(row) if type(value) is not expected[i])
        found, wanted = type(row[place]), expected[place]
        return (
            f"{self.told(row)} holds {_SAID.get(found, found.__name__)} in column {place + 1}, "
            f"expected {_SAID[wanted]}"
        )


_SAID: dict[type, str] = {
    int: "a whole number",
    str: "text",
    bytes: "bytes",
    float: "a number",
    type(None): "nothing",
}
