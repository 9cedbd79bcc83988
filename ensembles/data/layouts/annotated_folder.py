"""Folders of images whose labels stand in a file of text: Tiny ImageNet's val, ImageNet's, CSVs."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from ensembles.bounded import json_value, read_text
from ensembles.data.class_files import check_numbers, is_number
from ensembles.data.class_numbers import class_order, is_synset
from ensembles.data.layouts.image_tree import CONTAINERS, ImageTree, images_of, key_of, subfolders
from ensembles.data.pictures import Files
from ensembles.errors import DataError, nearest

__all__ = ["Annotations", "annotations_by", "annotations_of", "flat_images", "read_annotated"]

_MOST_BYTES = 2**27
_MOST_FILES = 64
_SUFFIXES = (".txt", ".csv", ".tsv", ".jsonl")
_LABEL_HEADS = (
    "label", "labels", "class", "wnid", "synset", "target", "category", "class_id", "label_id",
    "predictionstring", "fine_label", "y", "class_name",
)  # fmt: skip
_OF_DEVKIT = "ground_truth"
_NUMBERED = re.compile(r"\d+")


@dataclass(frozen=True)
class Annotations:
    """Labels of the images of one folder, as a file has them.

    Attributes:
        images: The folder of the images.
        names: Names of their files, sorted.
        labels: The text of each label.
        file: Where they stand.
        more: How many further images the file names.
        ignored: How many other files lie beside them.
    """

    images: Path
    names: tuple[str, ...]
    labels: tuple[str, ...]
    file: Path
    more: int = 0
    ignored: int = 0


def flat_images(folder: Path) -> Path | None:
    """Where images lie without class folders: in the folder, or in its only one, as ``images``."""
    images, _ = images_of(folder)
    inner = subfolders(folder)
    if images:
        return folder if not inner else None
    if len(inner) == 1 and inner[0].lower() in CONTAINERS and images_of(folder / inner[0])[0]:
        return folder / inner[0]
    return None


def annotations_of(folder: Path) -> Annotations | None:
    """The labels of a folder of images, if a file in it, beside the images or above gives them.

    Files of the folder above count when their names hold that of the folder, or ``synset``.

    Raises:
        DataError: When files give different labels, or one leaves images out.
    """
    home = flat_images(folder)
    if home is None:
        return None
    names, _ = images_of(home)
    found: list[Annotations] = []
    incomplete: list[DataError] = []
    for path in _candidates(folder, home):
        try:
            labels, more = _read_labels(path, names)
        except DataError as error:
            incomplete.append(error)
            continue
        if labels is not None:
            ignored = len(images_of(folder)[1])
            found.append(Annotations(home, tuple(names), labels, path, more, ignored))
    if len({one.labels for one in found}) > 1:
        first, second = found[0].file, next(x.file for x in found if x.labels != found[0].labels)
        raise DataError(
            f"{first} and {second} give the images of {home} different labels; keep one of them "
            "there"
        )
    if not found and incomplete:
        raise incomplete[0]
    return found[0] if found else None


def annotations_by(folder: Path, file: str) -> Annotations:
    """The labels of a flat folder of images by a file that is named, or by one of its columns.

    Args:
        folder: Holds the images.
        file: The file; ``FILE:COLUMN`` for one of several columns.

    Raises:
        DataError: When there is no such file or column, or it leaves images out.
    """
    path, column = Path(file).expanduser(), ""
    if not path.exists() and ":" in file:
        path, column = Path(file.rpartition(":")[0]).expanduser(), file.rpartition(":")[2]
    home = flat_images(folder) or folder
    names, others = images_of(home)
    labels, more = _read_labels(path, names, column)
    if labels is None:
        raise DataError(
            f"{path} gives the images of {home} no labels: expected a line for each, with its name "
            f"({names[0]}) and its label, and FILE:COLUMN where there are several columns"
        )
    return Annotations(home, tuple(names), labels, path, more, len(others))


def read_annotated(found: Annotations, split: str, train: Sequence[str] = ()) -> ImageTree:
    """Images with the labels of a file.

    Args:
        found: The labels.
        split: Name of the part.
        train: The classes of the training part, which number the labels; by default those that
            occur, in their order.

    Raises:
        DataError: When a label is none of the training's classes, or no class number.
    """
    told = f"labels are those of {found.file}"
    if found.more:
        told += f", which names {found.more:,} images more"
    numbered = not train and all(map(is_number, found.labels))
    if numbered:
        numbers = list(map(int, found.labels))
        check_numbers(numbers, str(found.file))
        classes = tuple(map(str, range(max(numbers) + 1)))
    else:
        there = set(found.labels)
        unknown = sorted(there - set(train)) if train else []
        if unknown:
            raise DataError(
                f"{found.file} has {len(unknown):,} labels that are no classes of the training "
                f"part ({', '.join(unknown[:3])}); expected its classes"
            )
        classes = tuple(train) or class_order(sorted(there))
        place = {name: number for number, name in enumerate(classes)}
        numbers = [place[label] for label in found.labels]
    # Sorted by class as in class folders, so that an even part of them keeps every class's share.
    order = sorted(range(len(numbers)), key=lambda index: (numbers[index], found.names[index]))
    paths = [(found.names[index], str(found.images / found.names[index])) for index in order]
    labels = [numbers[index] for index in order]
    return ImageTree(
        found.images,
        split,
        classes,
        Files([path for _, path in paths]),
        tuple(labels),
        found.ignored,
        key_of(paths, labels, classes),
        numbered,
        told,
    )


def _candidates(folder: Path, home: Path) -> list[Path]:
    """Files that may hold the labels of a folder's images."""
    inside = {folder / name for name in images_of(folder)[1]}
    inside |= {home / name for name in images_of(home)[1]}
    above = [folder.parent / name for name in images_of(folder.parent)[1]]
    word = folder.name.lower()
    near = [
        path for path in above
        if re.split(r"[^a-z]+", path.stem.lower()).count(word) or "synset" in path.stem.lower()
    ]  # fmt: skip
    known = [path for path in [*sorted(inside), *near] if path.suffix.lower() in _SUFFIXES]
    return known[:_MOST_FILES]


def _read_labels(
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
    more = 0
    for row in rows:
        name = known.get(_base(row[column])) if len(row) > max(column, label) else None
        if name is None:
            more += row is not rows[0] and len(row) > max(column, label)
            continue
        value = (row[label].split() or [""])[0]
        if not value or found.setdefault(name, value) != value:
            raise DataError(f"{path} gives {name} the labels {found.get(name)!r} and {value!r}")
    lacking = [name for name in names if name not in found]
    if lacking:
        raise DataError(
            f"{path} gives {len(lacking):,} of {len(names):,} images no label ({lacking[0]}); "
            "expected one for each"
        )
    return tuple(found[name] for name in names), more


def _rows(path: Path, text: str) -> Iterator[list[str]]:
    """Lines as cells, by tabs, commas or blanks; those of JSON under the heads of the first."""
    if path.suffix.lower() == ".jsonl":
        yield from _json_rows(path, text)
        return
    lines = [line for line in text.split("\n") if line.strip()]
    mark = next((mark for mark in "\t," if lines and mark in lines[0]), None)
    if mark is not None:
        try:
            for row in csv.reader(io.StringIO("\n".join(lines)), delimiter=mark):
                yield [cell.strip() for cell in row]
        except csv.Error as error:
            raise DataError(f"{path} is no table: {error}") from error
        return
    yield from (line.split() for line in lines)


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
