"""Folders of images whose labels stand in a file of text: Tiny ImageNet's val, ImageNet's, CSVs."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ensembles.data.class_files import check_numbers, is_number
from ensembles.data.class_numbers import class_order
from ensembles.data.layouts.image_tree import CONTAINERS, ImageTree, images_of, key_of, subfolders
from ensembles.data.layouts.label_files import SUFFIXES, read_label_file
from ensembles.data.pictures import Files
from ensembles.errors import DataError

__all__ = [
    "Annotations",
    "annotations_by",
    "annotations_of",
    "flat_images",
    "label_candidates",
    "read_annotated",
]

_MOST_FILES = 64


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


def label_candidates(folder: Path) -> list[str]:
    """Names of the files in a folder that might hold labels, and did not."""
    return [name for name in images_of(folder)[1] if Path(name).suffix.lower() in SUFFIXES]


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
            labels, more = read_label_file(path, names)
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
    labels, more = read_label_file(path, names, column)
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
    known = [path for path in [*sorted(inside), *near] if path.suffix.lower() in SUFFIXES]
    return known[:_MOST_FILES]
