"""Files that give images their labels, as people have them: text, tables, and JSON."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from ensembles.bounded import json_value, read_text
from ensembles.data.class_files import is_number
from ensembles.data.class_numbers import is_synset
from ensembles.errors import DataError, nearest

__all__ = ["SUFFIXES", "read_label_file"]

_MOST_BYTES = 2**27
SUFFIXES = (".txt", ".csv", ".tsv", ".jsonl", ".json")
_LABEL_HEADS = (
    "label", "labels", "class", "wnid", "synset", "target", "category", "class_id", "label_id",
    "predictionstring", "fine_label", "y", "class_name",
)  # fmt: skip
_OF_DEVKIT = "ground_truth"
_WITH_BOXES = "predictionstring"
"""A column of ImageNet's Kaggle files: WordNet names, each followed by a box."""
_FRACTION = re.compile(r"\d+\.0+")
_NUMBERED = re.compile(r"\d+")


def read_label_file(
    path: Path, names: Sequence[str], head: str = ""
) -> tuple[tuple[str, ...] | None, int]:
    """The label of each image, and how many others a file names; None if it is no such file.

    Args:
        path: The file.
        names: Names of the images.
        head: The head of the column of labels; by default it is found.

    Raises:
        DataError: If it names some of the images alone, or one twice.
    """
    text = read_text(path, "labels", error=DataError, most=_MOST_BYTES, encoding="utf-8-sig")
    if not names:
        return None, 0
    whole = {name: name for name in names}
    stems = {name.rpartition(".")[0]: name for name in names}
    rows = list(_rows(path, text))
    column, known = _column(rows, whole if len(stems) < len(names) else {**stems, **whole})
    if column is None:
        return _by_line(path, rows, names), 0
    if head:
        if head not in rows[0]:
            raise DataError(
                f"{path} has no column {head!r}; it has {', '.join(rows[0][:8])}"
                f"{nearest(head, rows[0])}"
            )
        label: int | None = rows[0].index(head)
    else:
        label = _label_column(rows, column, known)
    if label is None:
        return None, 0
    found: dict[str, str] = {}
    more, last = 0, max(column, label)
    of_boxes = len(rows[0]) > label and rows[0][label].lower() == _WITH_BOXES
    for row in rows:
        name = known.get(_base(row[column])) if len(row) > last else None
        if name is None:
            more += row is not rows[0] and len(row) > last
            continue
        value = row[label].split()[0] if of_boxes and row[label] else row[label]
        if not value or found.setdefault(name, value) != value:
            raise DataError(f"{path} gives {name} the labels {found.get(name)!r} and {value!r}")
    lacking = [name for name in names if name not in found]
    if lacking:
        raise DataError(
            f"{path} gives {len(lacking):,} of {len(names):,} images no label ({lacking[0]}); "
            "expected one for each"
        )
    return _plain([found[name] for name in names]), more


def _plain(labels: Sequence[str]) -> tuple[str, ...]:
    """Labels without the fraction .0 that all of them have, as numbers of a column with gaps do."""
    if all(map(_FRACTION.fullmatch, labels)):
        return tuple(label.partition(".")[0] for label in labels)
    return tuple(labels)


def _rows(path: Path, text: str) -> Iterator[list[str]]:
    """Lines as cells, by tabs, commas, semicolons or blanks; of JSON, a head and its values."""
    if path.suffix.lower() == ".jsonl":
        yield from _json_rows(path, text)
        return
    if path.suffix.lower() == ".json":
        yield from _json_pairs(json_value(text, f"labels {path}", error=DataError))
        return
    lines = [line for line in text.split("\n") if line.strip()]
    mark = next((mark for mark in "\t,;" if lines and mark in lines[0]), None)
    if mark is not None:
        try:
            for row in csv.reader(io.StringIO("\n".join(lines)), delimiter=mark):
                yield [cell.strip() for cell in row]
        except csv.Error as error:
            raise DataError(f"{path} is no table: {error}") from error
        return
    yield from _blank_rows([line.split() for line in lines])


def _blank_rows(rows: Sequence[list[str]]) -> Iterator[list[str]]:
    """Cells between blanks; a name of several words, behind that of an image, is one."""
    words = max((len(row) for row in rows), default=0) > 2 and not any(
        _is_numeric(cell) for row in rows for cell in row[1:]
    )
    yield from ([row[0], " ".join(row[1:])] if words else row for row in rows)


def _json_pairs(value: Any) -> Iterator[list[str]]:
    """Names with labels, as a mapping or as the list ``labels`` of pairs (StyleGAN's)."""
    if isinstance(value, Mapping) and isinstance(value.get("labels"), list):
        pairs = [one for one in value["labels"] if isinstance(one, list) and len(one) == 2]
    else:
        pairs = [list(one) for one in value.items()] if isinstance(value, Mapping) else []
    if pairs and all(isinstance(cell, str | int) for pair in pairs for cell in pair):
        yield ["file_name", "label"]
        yield from ([str(name), str(label)] for name, label in pairs)


def _json_rows(path: Path, text: str) -> Iterator[list[str]]:
    heads: list[str] = []
    for line in filter(str.strip, text.split("\n")):
        entry = json_value(line, f"labels {path}", error=DataError)
        if not isinstance(entry, Mapping):
            raise DataError(f"{path} holds a line that is no mapping; expected file_name and label")
        if not heads:
            heads = list(map(str, entry))
            yield heads
        yield [str(entry.get(head, "")) for head in heads]


def _column(
    rows: Sequence[Sequence[str]], known: Mapping[str, str]
) -> tuple[int | None, Mapping[str, str]]:
    """The column that names images, by the first rows; None if there is none."""
    few = rows[:200]
    width = min(8, max((len(row) for row in few), default=0))
    hits = [sum(len(row) > one and _base(row[one]) in known for row in few) for one in range(width)]
    if width < 2 or not any(hits):
        return None, known
    return hits.index(max(hits)), known


def _label_column(
    rows: Sequence[Sequence[str]], column: int, known: Mapping[str, str]
) -> int | None:
    """The column of the labels: by its head, the only other one, or the next if it holds names.

    Of several columns of numbers without heads none is taken: they may be coordinates.
    """
    head = rows[0]
    has_heads = column < len(head) and _base(head[column]) not in known
    if has_heads:
        heads = [cell.lower() for cell in head]
        usual = [heads.index(name) for name in _LABEL_HEADS if name in heads]
        named = next((place for place in usual if place != column), None)
        if named is not None or len(head) != 2:
            return named
    if len(head) == 2:
        return 1 - column
    beside = column + 1 if column + 1 < len(head) else column - 1
    cells = [row[beside] for row in rows[:200] if len(row) > beside]
    return None if any(map(_is_numeric, cells)) else beside


def _is_numeric(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _by_line(
    path: Path, rows: Sequence[Sequence[str]], names: Sequence[str]
) -> tuple[str, ...] | None:
    """Labels alone, one in each line, in the order of numbered images."""
    numbered = [_NUMBERED.findall(name.rpartition(".")[0]) for name in names]
    if len(rows) != len(names) or any(len(row) != 1 for row in rows) or not all(numbered):
        return None
    labels = [row[0] for row in rows]
    if _OF_DEVKIT in path.stem.lower() and all(map(is_number, labels)):
        raise DataError(
            f"{path} holds numbers of ImageNet's development kit, which are not those of networks; "
            "expected WordNet names, one in each line, or names of images with labels"
        )
    if not all(map(is_synset, labels)) and not all(map(is_number, labels)):
        return None
    order = sorted(range(len(names)), key=lambda index: int(numbered[index][-1]))
    by_image = dict(zip(order, labels, strict=True))
    return tuple(by_image[index] for index in range(len(names)))


def _base(cell: str) -> str:
    return PurePosixPath(cell.replace("\\", "/")).name
