"""Files of Parquet and of Arrow's messages, a group of rows at a time and within bounds."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

from ensembles.data.layouts.image_tree import MOST_IMAGES
from ensembles.errors import DataError

__all__ = ["MOST_GROUP", "SUFFIXES", "TableFile", "damage", "open_table"]

SUFFIXES = (".parquet", ".arrow")
MOST_GROUP = 2**30
"""Bytes of a column of one group of rows, decompressed, 1 GiB."""

_THRIFT = {"thrift_string_size_limit": 2**24, "thrift_container_size_limit": 10**6}
_RECORDS = 3


class TableFile(Protocol):
    """A file of groups of rows."""

    path: Path
    rows: list[int]

    def schema(self) -> Any:
        """The schema of Arrow."""

    def column(self, group: int, name: str) -> Any:
        """A column of a group."""


class damage:  # noqa: N801 (a context manager)
    """What pyarrow raises, as one error that names the file."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: Any, error: BaseException | None, _: Any) -> None:
        import pyarrow as pa  # noqa: PLC0415 (an extra)

        of_file = (OSError, ValueError, KeyError, TypeError, struct.error, IndexError, MemoryError)
        if isinstance(error, (pa.ArrowException, *of_file)):
            reason = " ".join(str(error).split())[:200] or type(error).__name__
            raise DataError(f"{self._path} is damaged or no table of images: {reason}") from error


def open_table(path: Path) -> TableFile:
    """Open a file by its name, as Parquet or as Arrow's messages.

    Raises:
        DataError: When it is damaged, or passes a bound.
    """
    if not path.is_file():
        raise DataError(f"{path} is no plain file; expected a table of images")
    with damage(path):
        return _Parquet(path) if path.name.lower().endswith(".parquet") else _Arrow(path)


class _Parquet:
    """A Parquet file; its columns of bytes stay packed as dictionaries where they are."""

    def __init__(self, path: Path) -> None:
        import pyarrow.parquet as pq  # noqa: PLC0415 (an extra)

        self.path = path
        about = pq.ParquetFile(path, **_THRIFT)
        leaves = {
            about.metadata.schema.column(number).path
            for number in range(len(about.metadata.schema))
            if about.metadata.schema.column(number).physical_type == "BYTE_ARRAY"
        }
        self._file = pq.ParquetFile(path, read_dictionary=sorted(leaves), **_THRIFT)
        groups = [self._file.metadata.row_group(g) for g in range(self._file.num_row_groups)]
        self.rows = [group.num_rows for group in groups]

    def schema(self) -> Any:
        return self._file.schema_arrow

    def column(self, group: int, name: str) -> Any:
        about = self._file.metadata.row_group(group)
        size = sum(
            column.total_uncompressed_size
            for column in map(about.column, range(about.num_columns))
            if column.path_in_schema.split(".")[0] == name
        )
        if size > MOST_GROUP or about.num_rows > MOST_IMAGES:
            raise DataError(
                f"{self.path} has a group of {about.num_rows:,} rows with {size:,} bytes of "
                f"{name}; expected at most {MOST_IMAGES:,} rows and {MOST_GROUP:,} bytes, so write "
                "smaller groups of rows"
            )
        return self._file.read_row_group(group, columns=[name]).column(0)


class _Arrow:
    """A file of Arrow's messages, as the package datasets writes it; read, and not mapped."""

    def __init__(self, path: Path) -> None:
        import pyarrow as pa  # noqa: PLC0415 (an extra)

        self.path = path
        total = path.stat().st_size
        self._places: list[tuple[int, int]] = []
        self.rows: list[int] = []
        self._schema: Any = None
        with path.open("rb") as file:
            place = 8 if file.read(6) == b"ARROW1" else 0
            while (found := _message(file, place, total)) is not None:
                header, rows, end, packed = found
                if self._schema is None:
                    file.seek(place)
                    self._schema = pa.ipc.read_schema(pa.ipc.read_message(file.read(end - place)))
                elif header != _RECORDS or packed:
                    what = "compressed" if packed else "dictionaries or other"
                    raise DataError(
                        f"{path} holds {what} messages; expected plain batches of rows, as the "
                        "package datasets writes them"
                    )
                else:
                    self._places.append((place, end))
                    self.rows.append(rows)
                place = end

    def schema(self) -> Any:
        return self._schema

    def column(self, group: int, name: str) -> Any:
        import pyarrow as pa  # noqa: PLC0415 (an extra)

        start, end = self._places[group]
        with self.path.open("rb") as file:
            file.seek(start)
            message = pa.ipc.read_message(pa.py_buffer(file.read(end - start)))
        batch = pa.ipc.read_record_batch(message, self._schema)
        batch.validate(full=True)  # offsets of another hand would be followed anywhere
        return batch.column(batch.schema.get_field_index(name))


def _message(file: Any, place: int, total: int) -> tuple[int, int, int, bool] | None:
    """Header, rows, end, and whether a message of Arrow is compressed; None at the end.

    Its head is a flat buffer (Arrow columnar format, Message.fbs): a table of the version, the type
    of the header, the header, and the length of the body.
    """
    file.seek(place)
    lead = file.read(8)
    if len(lead) < 8 or lead[:4] != b"\xff\xff\xff\xff":
        if place in (0, 8):
            raise DataError(f"{file.name} is no file of Arrow; expected one with images")
        return None
    size = struct.unpack("<i", lead[4:])[0]
    if size == 0:
        return None
    if not 0 < size <= min(2**24, total - place - 8):
        raise DataError(f"{file.name} is damaged at byte {place:,}")
    head = file.read(size)
    root = struct.unpack_from("<I", head, 0)[0]
    at = dict(_fields(head, root))
    header = head[at[1]] if 1 in at else 0
    body = struct.unpack_from("<q", head, at[3])[0] if 3 in at else 0
    end = place + 8 + size + body
    if not 0 <= body <= MOST_GROUP or end > total:
        raise DataError(
            f"{file.name} has a batch of {body:,} bytes at {place:,}; expected at most "
            f"{MOST_GROUP:,}, within the file's {total:,}"
        )
    rows, packed = 0, False
    if header == _RECORDS:
        table = at[2] + struct.unpack_from("<I", head, at[2])[0]
        inner = dict(_fields(head, table))
        rows = struct.unpack_from("<q", head, inner[0])[0] if 0 in inner else 0
        packed = 3 in inner
        if not 0 <= rows <= MOST_IMAGES:
            raise DataError(f"{file.name} has a batch of {rows:,} rows; expected {MOST_IMAGES:,}")
    return header, rows, end, packed


def _fields(head: bytes, table: int) -> Iterator[tuple[int, int]]:
    """Number and place of the fields that a table of a flat buffer has."""
    vtable = table - struct.unpack_from("<i", head, table)[0]
    size = struct.unpack_from("<H", head, vtable)[0]
    for number in range((size - 4) // 2):
        offset = struct.unpack_from("<H", head, vtable + 4 + 2 * number)[0]
        if offset:
            yield number, table + offset
