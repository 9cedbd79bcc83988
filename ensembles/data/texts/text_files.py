"""Texts from the user's files: plain ones, folders of them, columns of tables."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Sequence
from io import StringIO
from pathlib import Path
from typing import Any

from ensembles.bounded import read_text
from ensembles.data.splits import SPLIT_NAMES, choose_split
from ensembles.distribution import install
from ensembles.errors import DataError, UsageError, nearest
from ensembles.text_names import TEXT_SUFFIXES

__all__ = ["TABLES", "read_documents", "read_labelled"]

TABLES = (".csv", ".jsonl", ".parquet", ".arrow")
MOST_BYTES = 2**30
"""Bytes of one file, 1 GiB."""

_COLUMN, _LABELS = "text", "label"


def read_documents(path: Path, split: str, column: str | None) -> tuple[str, list[str]]:
    """The documents of a file or a folder, in order.

    Args:
        path: A text of UTF-8, a table (:data:`TABLES`), or a folder of such
            files, which may lie in folders called ``train``, ``test`` and the like, or be called
            so.
        split: The part that is asked for, where there are parts.
        column: The column of a table; ``text`` by default.

    Returns:
        The part that was read, ``all`` where there are none; and the documents.

    Raises:
        DataError: When there is no such file, part or column, or it holds no text.
        UsageError: When a column is named of what is no table.
    """
    split, found = _files(path, split)
    if column is not None and not any(one.suffix.lower() in TABLES for one in found):
        raise UsageError(
            f"{path} is no table, so it has no column {column!r}; leave the column out, or give "
            f"a file that ends in {', '.join(TABLES)}"
        )
    texts = [text for one in found for text in _of_file(one, column) if text.strip()]
    if not texts:
        raise DataError(f"{path} ({split}) holds no text; expected at least one character")
    return split, texts


def _of_folder(path: Path, split: str) -> tuple[str, list[Path]]:
    """The files of a part of a folder, by their paths in order."""
    suffixes = (*TEXT_SUFFIXES, *TABLES)
    found = [
        one
        for one in sorted(path.rglob("*"))
        if one.suffix.lower() in suffixes
        and one.is_file()
        and not any(part.startswith(".") for part in one.relative_to(path).parts)
    ]
    if not found:
        raise DataError(f"{path} holds no texts; expected files that end in {', '.join(suffixes)}")
    parts: dict[str, list[Path]] = {}
    for one in found:
        first = one.relative_to(path).parts[0].lower()
        name = next((n for n in SPLIT_NAMES if first == n or Path(first).stem == n), "")
        name = name or next((n for n in SPLIT_NAMES if first.startswith((f"{n}-", f"{n}_"))), "")
        parts.setdefault(name, []).append(one)
    if set(parts) == {""}:
        return "all", found
    if "" in parts:
        raise DataError(
            f"{path} holds parts ({', '.join(name for name in parts if name)}) and "
            f"{parts[''][0].name} beside them; put each file into one of the parts, or none"
        )
    chosen = choose_split(split, parts, str(path))
    return chosen, parts[chosen]


def _files(path: Path, split: str) -> tuple[str, list[Path]]:
    """The files of a part, in order, and the part."""
    if path.is_dir():
        return _of_folder(path, split)
    if path.exists():
        return "all", [path]
    raise DataError(f"there is no text {path}; expected a file or a folder")


def read_labelled(
    path: Path, split: str, column: str | None, labels: str | None
) -> tuple[str, list[tuple[str, Any]]]:
    """Texts and labels of a table or a folder of tables, row by row, in order.

    Args:
        path: The table, or a folder of such, which may have parts, as for :func:`read_documents`.
        split: The part that is asked for, where there are parts.
        column: The column of the texts; ``text`` by default.
        labels: The column of the labels; ``label`` by default.

    Returns:
        The part that was read, ``all`` where there are none; and each row's text and label.

    Raises:
        DataError: When there is no such file, part or column, or no row.
    """
    split, found = _files(path, split)
    plain = next((one for one in found if one.suffix.lower() not in TABLES), None)
    if plain is not None:
        raise DataError(
            f"{plain} is no table, so it has no labels; expected files that end in "
            f"{', '.join(TABLES)}, with a column of texts and one of labels"
        )
    columns = (column or _COLUMN, labels or _LABELS)
    rows = []
    for one in found:
        for row, where in _rows(one, columns):
            text, label = _cell(row, columns[0], where), _value(row, columns[1], where, "labels")
            rows.append((text, label))
    if not rows:
        raise DataError(f"{path} ({split}) holds no row; expected at least one text and its label")
    return split, rows


def _of_file(path: Path, column: str | None) -> Iterator[str]:
    if path.suffix.lower() in TABLES:
        name = column or _COLUMN
        yield from (_cell(row, name, where) for row, where in _rows(path, (name,)))
    else:
        yield read_text(path, "text", error=DataError, most=MOST_BYTES)


def _rows(path: Path, columns: Sequence[str]) -> Iterator[tuple[dict[str, Any], str]]:
    """The rows of a table with some of their columns, and where each stands."""
    ending = path.suffix.lower()
    if ending == ".jsonl":
        return _of_lines(path)
    return _of_cells(path) if ending == ".csv" else _of_table(path, columns)


def _of_lines(path: Path) -> Iterator[tuple[dict[str, Any], str]]:
    text = read_text(path, "table", error=DataError, most=MOST_BYTES)
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            row = None
        if not isinstance(row, dict):
            raise DataError(f"{path}, line {number}: is no JSON object; expected one a line")
        yield row, f"{path}, line {number}"


def _of_cells(path: Path) -> Iterator[tuple[dict[str, Any], str]]:
    text = read_text(path, "table", error=DataError, most=MOST_BYTES)
    reader = csv.reader(StringIO(text, newline=""), strict=True)
    head: list[str] | None = None
    try:
        for row in reader:
            where = f"{path}, line {reader.line_num}"
            if head is None:
                head = [name.strip().removeprefix("\ufeff") for name in row]
            elif row:
                if len(row) != len(head):
                    raise DataError(
                        f"{where}: has {len(row)} cells; expected {len(head)}, as the first line"
                    )
                yield dict(zip(head, row, strict=True)), where
    except csv.Error as error:
        raise DataError(f"{path}, line {reader.line_num}: is no CSV: {error}") from error


def _of_table(path: Path, columns: Sequence[str]) -> Iterator[tuple[dict[str, Any], str]]:
    try:
        from ensembles.data.layouts.table_files import damage, open_table  # noqa: PLC0415

        table = open_table(path)
    except ImportError:
        raise DataError(
            f"{path} needs pyarrow, which is not installed: {install('parquet')}"
        ) from None
    with damage(path):
        names = table.schema().names
        there = [name for name in columns if name in names]
        if len(there) < len(columns):
            yield dict.fromkeys(names), str(path)  # whose reader says which one is lacking
        for group in range(len(table.rows)):
            cells = [table.column(group, name).to_pylist() for name in there]
            for number, row in enumerate(zip(*cells, strict=True)):
                where = f"{path}, row {number} of group {group}"
                yield dict(zip(there, row, strict=True)), where


def _value(row: dict[str, Any], column: str, where: str, what: str) -> Any:
    if column not in row:
        option = "--column" if what == "text" else "--labels"
        raise DataError(
            f"{where}: has no column {column!r}, only {', '.join(map(str, row)) or 'none'}"
            f"{nearest(column, list(row))}; name the one that holds the {what} by {option}"
        )
    return row[column]


def _cell(row: dict[str, Any], column: str, where: str) -> str:
    value = _value(row, column, where, "text")
    if not isinstance(value, str):
        raise DataError(
            f"{where}: the column {column!r} holds a {type(value).__name__}; expected text"
        )
    return value
