"""Tables with a column of images: Parquet files, and folders that Hugging Face's datasets wrote."""

from __future__ import annotations

import threading
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ensembles.bounded import json_value
from ensembles.data.class_files import check_numbers, is_number
from ensembles.data.class_numbers import class_order
from ensembles.data.layouts.image_tree import MOST_IMAGES, ImageTree, key_of
from ensembles.data.layouts.parts import choose_part
from ensembles.data.layouts.table_files import MOST_GROUP, SUFFIXES, TableFile, damage, open_table
from ensembles.data.pictures import MOST_BYTES
from ensembles.distribution import install
from ensembles.errors import DataError

__all__ = ["SUFFIXES", "TableRows", "read_tables"]

_IMAGES = ("image", "img", "images", "jpg", "png", "picture", "photo")
_LABELS = ("label", "labels", "fine_label", "target", "class", "cls", "y", "class_label")
_MOST_KEPT = 16
_MOST_LABEL = 1000


@dataclass(frozen=True)
class _Columns:
    image: str
    label: str
    names: tuple[str, ...]


class TableRows:
    """Images within tables, a group of rows in memory at a time.

    Args:
        tables: The files.
        column: Name of the column of images.
    """

    def __init__(self, tables: Sequence[TableFile], column: str) -> None:
        self._tables, self._column = tuple(tables), column
        self._groups = [(t, g) for t, table in enumerate(tables) for g in range(len(table.rows))]
        self._starts = [0]
        for table, group in self._groups:
            self._starts.append(self._starts[-1] + tables[table].rows[group])
        self._kept: OrderedDict[int, Any] = OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return self._starts[-1]

    def name(self, index: int) -> str:
        """The file, and the row of all rows."""
        table, _ = self._groups[self._group(index)]
        return f"{self._tables[table].path}:row {index:,}"

    def read(self, index: int) -> bytes:
        """The bytes of an image.

        Raises:
            DataError: When they cannot be read, or are too many.
        """
        number = self._group(index)
        value = self._rows(number)[index - self._starts[number]].as_py()
        content = value.get("bytes") if isinstance(value, dict) else value
        if not isinstance(content, bytes):
            hint = "; its path alone is given" if isinstance(value, dict) and value else ""
            raise DataError(f"{self.name(index)} holds no image{hint}; expected its bytes")
        if len(content) > MOST_BYTES:
            raise DataError(
                f"{self.name(index)} has {len(content):,} bytes; expected at most {MOST_BYTES:,}"
            )
        return content

    def _group(self, index: int) -> int:
        return bisect_right(self._starts, index) - 1

    def _rows(self, number: int) -> Any:
        with self._lock:
            if number not in self._kept:
                table, group = self._groups[number]
                self._kept[number] = _read(self._tables[table], group, self._column)
            self._kept.move_to_end(number)
            while len(self._kept) > 1 and (
                len(self._kept) > _MOST_KEPT
                or sum(rows.nbytes for rows in self._kept.values()) > MOST_GROUP
            ):
                self._kept.popitem(last=False)
            return self._kept[number]


def read_tables(
    parts: Mapping[str, Sequence[Path]], place: Path, split: str, column: str | None = None
) -> ImageTree:
    """Images and labels of tables, in the order of the files and their rows.

    Args:
        parts: The files of each split.
        place: Where they were looked for.
        split: Which split to take.
        column: The column of labels; by default it is found.

    Raises:
        DataError: When a file is damaged or too large, has no column of images or of labels, or
            several; or when pyarrow is not installed.
    """
    if find_spec("pyarrow") is None:
        raise DataError(f"{place} needs the package pyarrow: {install('parquet')}")
    part = choose_part(split, parts, place)
    files = list(parts[part])
    tables = [open_table(path) for path in files]
    total = sum(sum(table.rows) for table in tables)
    if not 0 < total <= MOST_IMAGES:
        raise DataError(f"{place} ({part}) has {total:,} rows; expected 1 to {MOST_IMAGES:,}")
    columns = [_columns(table, column) for table in tables]
    if len(set(columns)) > 1:
        other = next(path for path, one in zip(files, columns, strict=True) if one != columns[0])
        raise DataError(f"{files[0]} and {other} differ in their columns; expected the same")
    images, label, names = columns[0].image, columns[0].label, columns[0].names
    values = [
        value
        for table in tables
        for group in range(len(table.rows))
        for value in _read(table, group, label).to_pylist()
    ]
    labels, classes, numbered = _labels(values, names, f"{place} ({part})", label)
    key = key_of([(str(path), str(path)) for path in files], labels, classes)
    told = f"labels are the column {label}" if label not in ("label", "labels") else ""
    return ImageTree(
        place, part, classes, TableRows(tables, images), tuple(labels), 0, key, numbered, told
    )


def _labels(
    values: Sequence[Any], names: tuple[str, ...], where: str, column: str
) -> tuple[list[int], tuple[str, ...], bool]:
    """Class numbers, names of the classes, and whether the numbers stand in the data."""
    if all(isinstance(value, int) and not isinstance(value, bool) for value in values):
        if min(values) < 0:
            raise DataError(
                f"{where} has the label {min(values)} in the column {column}, which marks images "
                "without labels; expected class numbers from 0"
            )
        check_numbers(values, where)
        if names and max(values) >= len(names):
            raise DataError(f"{where} has the label {max(values)} of {len(names)} named classes")
        return list(values), names or tuple(map(str, range(max(values) + 1))), not names
    if not all(isinstance(value, str) and 0 < len(value) <= _MOST_LABEL for value in values):
        texts = any(isinstance(value, str) for value in values)
        kind = str if texts else int
        strange = next((v for v in values if not isinstance(v, kind) or not str(v)), values[0])
        raise DataError(
            f"{where} has the label {str(strange)[:40]!r} in the column {column}; expected a class "
            "number or a name in each row"
        )
    if all(map(is_number, values)):
        return _labels([int(value) for value in values], (), where, column)
    classes = class_order(sorted(set(values)))
    number = {name: place for place, name in enumerate(classes)}
    return [number[value] for value in values], classes, False


def _columns(table: TableFile, column: str | None) -> _Columns:
    """Which column holds images, which labels, and the names of the classes if it says so."""
    schema = table.schema()
    features = _features(schema, table.path)
    kinds = {name: one.get("_type") for name, one in features.items() if isinstance(one, Mapping)}
    names = list(schema.names)
    images = [name for name in names if kinds.get(name) == "Image"]
    images = images or [n for n in names if n.lower() in _IMAGES and _holds_bytes(schema.field(n))]
    images = images or [name for name in names if _holds_bytes(schema.field(name))]
    labels = [name for name in names if kinds.get(name) == "ClassLabel"]
    usual = [name for wanted in _LABELS for name in names if name.lower() == wanted]
    labels = labels if len(labels) == 1 else (usual or labels)[:1]
    if column is not None:
        labels = [name for name in names if name == column]
    listed = ", ".join(map(str, names[:8])) + (", ..." if len(names) > 8 else "") or "none"
    for found, what in ((images, "images (bytes of image files)"), (labels, "labels")):
        if len(found) != 1:
            wrong = f"several columns of {what}" if found else f"no column of {what}"
            if what == "labels" and column is not None:
                wrong = f"no column {column!r}"
            raise DataError(
                f"{table.path} has {wrong} (columns: {listed}); expected one, such as image and "
                "label"
            )
    about = features.get(labels[0], {})
    known = about.get("names") if isinstance(about, Mapping) else None
    texts = tuple(map(str, known)) if isinstance(known, list) else ()
    return _Columns(images[0], labels[0], texts)


def _features(schema: Any, path: Path) -> Mapping[str, Any]:
    """What the package datasets notes of the columns."""
    noted = (schema.metadata or {}).get(b"huggingface")
    if noted is None:
        return {}
    value: Any = json_value(noted, f"the features of {path}", error=DataError)
    for name in ("info", "features"):
        value = value.get(name, {}) if isinstance(value, Mapping) else {}
    return value if isinstance(value, Mapping) else {}


def _holds_bytes(field: Any) -> bool:
    """Whether a column holds bytes, or structures with the field ``bytes``."""
    import pyarrow as pa  # noqa: PLC0415 (an extra)

    kind = field.type
    if pa.types.is_struct(kind):
        at = kind.get_field_index("bytes")
        return at >= 0 and _holds_bytes(kind.field(at))
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def _read(table: TableFile, group: int, column: str) -> Any:
    """A column of a group of rows; whatever goes wrong is the file's fault."""
    with damage(table.path):
        found = table.column(group, column)
    if len(found) != table.rows[group]:
        raise DataError(f"{table.path} has {len(found):,} rows where {table.rows[group]:,} were")
    return found
