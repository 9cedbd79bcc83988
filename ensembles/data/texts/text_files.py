"""Texts from the user's files: plain ones, folders of them, columns of tables."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ensembles.bounded import read_text
from ensembles.data.splits import SPLIT_NAMES, choose_split
from ensembles.distribution import install
from ensembles.errors import DataError, UsageError, nearest
from ensembles.text_names import TEXT_SUFFIXES

__all__ = ["TABLES", "read_documents"]

TABLES = (".jsonl", ".parquet", ".arrow")
MOST_BYTES = 2**30
"""Bytes of one file, 1 GiB."""

_COLUMN = "text"


def read_documents(path: Path, split: str, column: str | None) -> tuple[str, list[str]]:
    """The documents of a file or a folder, in order.

    Args:
        path: A text of UTF-8, a table (``.jsonl``, ``.parquet``, ``.arrow``), or a folder of such
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
    if path.is_dir():
        split, found = _of_folder(path, split)
    elif path.exists():
        split, found = "all", [path]
    else:
        raise DataError(f"there is no text {path}; expected a file or a folder")
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


def _of_file(path: Path, column: str | None) -> Iterator[str]:
    ending = path.suffix.lower()
    if ending == ".jsonl":
        yield from _of_lines(path, column or _COLUMN)
    elif ending in TABLES:
        yield from _of_table(path, column or _COLUMN)
    else:
        yield read_text(path, "text", error=DataError, most=MOST_BYTES)


def _of_lines(path: Path, column: str) -> Iterator[str]:
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
        yield _cell(row, column, f"{path}, line {number}")


def _of_table(path: Path, column: str) -> Iterator[str]:
    try:
        from ensembles.data.layouts.table_files import damage, open_table  # noqa: PLC0415

        table = open_table(path)
    except ImportError:
        raise DataError(
            f"{path} needs pyarrow, which is not installed: {install('parquet')}"
        ) from None
    with damage(path):
        names = table.schema().names
        if column not in names:
            raise _lacking(column, names, str(path))
        for group in range(len(table.rows)):
            for row, cell in enumerate(table.column(group, column).to_pylist()):
                yield _cell({column: cell}, column, f"{path}, row {row} of group {group}")


def _cell(row: dict[str, Any], column: str, where: str) -> str:
    if column not in row:
        raise _lacking(column, list(row), where)
    value = row[column]
    if not isinstance(value, str):
        raise DataError(
            f"{where}: the column {column!r} holds a {type(value).__name__}; expected text"
        )
    return value


def _lacking(column: str, names: list[str], where: str) -> DataError:
    return DataError(
        f"{where}: has no column {column!r}, only {', '.join(map(str, names)) or 'none'}"
        f"{nearest(column, names)}; name the one that holds the text by --column"
    )
