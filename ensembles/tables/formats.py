"""Results on disk: written whole or not at all, and read back as they were.

A table goes to CSV (plain, its attributes in ``NAME.csv.attrs.json`` beside it), Parquet
(attributes in the file's own metadata) or JSON (attributes and rows in one object).
"""

from __future__ import annotations

import csv
import io
import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal, cast

import pandas as pd

from ensembles.distribution import install
from ensembles.errors import UsageError
from ensembles.files import atomic, refusals
from ensembles.tables.columns import Value, describe, infer, plain, restore
from ensembles.tables.schema import Attributes, check_columns
from ensembles.writable import TABLES, check_writable

__all__ = [
    "TABLES",
    "check_writable",
    "frame_to_csv",
    "frame_to_json",
    "read_frame",
    "write_frame",
]

_KEY = b"ensembles"
_ACTIVE = "=+-@\t\r\n'"
_NUMBER = re.compile(r"[+-](\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_MOST_BYTES = 1 << 30
"""Bytes of a table on the disk, and of its values once they are unpacked."""
_AT_ONCE = 1024
_UNREADABLE = (
    ValueError, KeyError, TypeError, AttributeError, RecursionError, UsageError, csv.Error,
)  # fmt: skip
_Columns = Mapping[str, Sequence[Value]]


def write_frame(frame: pd.DataFrame, path: str | Path, *, raw: bool = False) -> Path:
    """Write a table and its attributes.

    Args:
        frame: The table; its ``attrs`` hold the provenance.
        path: File with the ending ``.csv``, ``.parquet`` or ``.json``.
        raw: Whether texts stand in a CSV file as they are, as in :func:`frame_to_csv`.

    Returns:
        The path.

    Raises:
        UsageError: The ending tells no known format.
        OutputError: The file cannot be written.
    """
    path = check_writable(path)
    with refusals(f"output {path}"):
        if path.suffix.lower() == ".csv":
            note = {"attrs": _tree(frame.attrs), "dtypes": describe(frame)}
            if not raw:
                note["guarded"] = True
            _write_text(_sidecar(path), json.dumps(note, indent=1) + "\n")
            _write_text(path, frame_to_csv(frame, raw=raw))
        elif path.suffix.lower() == ".json":
            _write_text(path, frame_to_json(frame))
        else:
            _write_parquet(frame, path)
    return path


def read_frame(path: str | Path) -> pd.DataFrame:
    """Read a table that :func:`write_frame` wrote, or any CSV file with a header.

    Args:
        path: File with the ending ``.csv``, ``.parquet`` or ``.json``.

    Returns:
        The table, with the column types and ``attrs`` that it was written with.

    Raises:
        UsageError: The ending tells no known format, the file cannot be read, or it holds
            something else than :mod:`ensembles.tables.schema` says.
    """
    path = Path(path)
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        raise UsageError(f"results {path}: expected a file ending in {', '.join(TABLES)}")
    if path.suffix.lower() == ".parquet" and find_spec("pyarrow") is None:
        raise UsageError(f"results {path}: Parquet needs pyarrow; {install('parquet')}")
    try:
        if path.exists():
            _check_size(path)
        columns, note = reader(path)
        dtypes = note["dtypes"]
        frame = pd.DataFrame({name: _restored(name, columns, dtypes) for name in columns})
        frame.attrs = dict(note["attrs"])
        Attributes.of(frame)
        check_columns(frame, dtypes)
    except OSError as error:
        raise UsageError(f"results {path}: cannot be read ({error.strerror})") from error
    except _UNREADABLE as error:
        why = " ".join(str(error).split())[:200]
        raise UsageError(f"results {path}: is no table of results ({why})") from error
    return frame


def _restored(name: str, columns: _Columns, dtypes: Mapping[str, str]) -> pd.Series[Any]:
    try:
        return restore(columns[name], dtypes[name])
    except (ValueError, TypeError, OverflowError) as error:
        raise ValueError(f"column {name}: {error}") from error


def frame_to_csv(frame: pd.DataFrame, *, raw: bool = False) -> str:
    """The rows as CSV text: numbers in full precision, lists as JSON, empty where missing.

    Args:
        frame: The table.
        raw: Whether texts that a spreadsheet would take for a formula stand as they are. By default
            an apostrophe is put before those that begin with ``=``, ``+``, ``-``, ``@``, a tab or a
            line end and are no numbers, and before those that begin with an apostrophe;
            :func:`read_frame` takes it away again.
    """
    columns = _plain_columns(frame)
    if not raw:
        columns = {
            _guarded(name): [_guarded(v) if isinstance(v, str) else v for v in values]
            for name, values in columns.items()
        }
    text = _csv_text(columns, csv.QUOTE_MINIMAL)
    # Python quotes no carriage return that stands alone, and so does not read it back.
    return _csv_text(columns, csv.QUOTE_ALL) if "\r" in text else text


def _csv_text(columns: _Columns, quoting: Literal[0, 1]) -> str:
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n", quoting=quoting)
    writer.writerow(columns)
    cells = (
        [json.dumps(value) if isinstance(value, list) else value for value in values]
        if any(isinstance(value, list) for value in values)
        else values
        for values in columns.values()
    )
    writer.writerows(zip(*cells, strict=True))
    return buffer.getvalue()


def frame_to_json(frame: pd.DataFrame) -> str:
    """The table as JSON text: ``{"attrs": {...}, "dtypes": {...}, "rows": [{...}, ...]}``.

    One row a line; null where a number is missing.
    """
    dtypes = describe(frame)
    columns = {
        name: _tree(values) if dtypes[name] == "number" else values
        for name, values in _plain_columns(frame).items()
    }
    rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    lines = ",\n".join(json.dumps(row, allow_nan=False) for row in rows)
    attrs = json.dumps(_tree(frame.attrs), allow_nan=False)
    return f'{{"attrs": {attrs},\n"dtypes": {json.dumps(dtypes)},\n"rows": [\n{lines}\n]}}\n'


def _guarded(text: str) -> str:
    """A text that no spreadsheet takes for a formula; numbers stay what they are."""
    if text[:1] not in _ACTIVE or not text or _NUMBER.fullmatch(text):
        return text
    return f"'{text}"


def _unguarded(text: str) -> str:
    return text[1:] if text[:1] == "'" and text[1:2] and text[1:2] in _ACTIVE else text


def _plain_columns(frame: pd.DataFrame) -> dict[str, list[Value]]:
    dtypes = describe(frame)
    return {name: plain(frame[name], dtypes[name]) for name in dtypes}


def _tree(value: object) -> Any:
    """What JSON can hold: NaN becomes null, tuples lists, scalars Python's own."""
    if isinstance(value, Mapping):
        return {str(key): _tree(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset | range):
        return [_tree(item) for item in value]
    if hasattr(value, "tolist"):
        return _tree(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else str(value)
    return value if isinstance(value, str | int | float | None) else str(value)


def _sidecar(path: Path) -> Path:
    return path.with_name(path.name + ".attrs.json")


def _write_text(path: Path, text: str) -> None:
    with atomic(path) as scratch:
        scratch.write_text(text, encoding="utf-8", newline="")


def _write_parquet(frame: pd.DataFrame, path: Path) -> None:
    import pyarrow as pa  # noqa: PLC0415  (an extra)
    import pyarrow.parquet as pq  # noqa: PLC0415

    dtypes, stored = describe(frame), frame.copy()
    for name, dtype in dtypes.items():
        if dtype in ("exact", "counts", "numbers"):
            values = plain(frame[name], dtype)
            try:
                pa.array(values)
            except (pa.ArrowInvalid, OverflowError):  # larger than 64 bits, or of several depths
                values = [None if value is None else json.dumps(value) for value in values]
            stored[name] = pd.Series(values, index=stored.index, dtype=object)
    note = json.dumps({"attrs": _tree(frame.attrs), "dtypes": dtypes}).encode()
    table = pa.Table.from_pandas(stored, preserve_index=False)
    table = table.replace_schema_metadata({**(table.schema.metadata or {}), _KEY: note})
    with atomic(path) as scratch:
        pq.write_table(table, scratch)


def _read_csv(path: Path) -> tuple[_Columns, dict[str, Any]]:
    with path.open(newline="", encoding="utf-8-sig") as file:
        header, *rows = list(csv.reader(file, strict=True)) or [[]]
    if not header:
        raise ValueError("the file is empty")
    if len(set(header)) < len(header):
        raise ValueError("two columns have the same name")
    for number, row in enumerate(rows, start=1):
        if len(row) != len(header):
            raise ValueError(f"row {number} has {len(row)} cells under {len(header)} columns")
    columns = {name: [row[place] for row in rows] for place, name in enumerate(header)}
    note: dict[str, Any] = {"attrs": {}, "dtypes": {}}
    if _sidecar(path).is_file():
        _check_size(_sidecar(path))
        note = json.loads(_sidecar(path).read_text(encoding="utf-8"))
    if note.get("guarded"):
        columns = {_unguarded(n): list(map(_unguarded, cells)) for n, cells in columns.items()}
    return columns, {**note, "dtypes": {**infer(columns), **note["dtypes"]}}


def _read_json(path: Path) -> tuple[_Columns, dict[str, Any]]:
    whole = json.loads(path.read_text(encoding="utf-8"))
    columns = {name: [row[name] for row in whole["rows"]] for name in whole["dtypes"]}
    return columns, whole


def _read_parquet(path: Path) -> tuple[_Columns, dict[str, Any]]:
    import pyarrow.parquet as pq  # noqa: PLC0415  (an extra)

    with pq.ParquetFile(path) as file:
        names = file.schema_arrow.names
        columns: dict[str, list[Any]] = {name: [] for name in names}
        size = 0
        for batch in file.iter_batches(batch_size=_AT_ONCE):  # a small file may unpack to anything
            size += batch.nbytes + batch.num_rows * len(names)
            if size > _MOST_BYTES:
                raise ValueError(f"it unpacks to more than {_MOST_BYTES:,} bytes")
            for name, values in zip(names, batch.columns, strict=True):
                columns[name] += values.to_pylist()
        note = json.loads((file.schema_arrow.metadata or {})[_KEY])
    return columns, cast("dict[str, Any]", note)


def _check_size(path: Path) -> None:
    """Refuse what is no plain file, which may never end, and what is larger than a table.

    Raises:
        ValueError: Saying which.
    """
    if not path.is_file():
        raise ValueError("it is no plain file" if path.exists() else "there is no such file")
    if path.stat().st_size > _MOST_BYTES:
        raise ValueError(f"it is larger than {_MOST_BYTES:,} bytes")


_READERS: dict[str, Callable[[Path], tuple[_Columns, dict[str, Any]]]] = {
    ".csv": _read_csv,
    ".json": _read_json,
    ".parquet": _read_parquet,
}
