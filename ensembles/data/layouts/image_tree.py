"""What was found in a place that holds images, and how folders are looked through."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ensembles.data.encoded import EXTENSIONS
from ensembles.data.pictures import Place

__all__ = [
    "CONTAINERS",
    "MOST_IMAGES",
    "ImageTree",
    "first_image",
    "holds_images",
    "images_of",
    "key_of",
    "subfolders",
    "walk",
]

CONTAINERS = frozenset({
    "data", "image", "images", "imgs", "img", "jpegimages", "jpegs", "photos", "pictures", "test",
    "unknown", "unlabeled", "unlabelled",
})  # fmt: skip
"""Names of folders that hold images, and are no classes when they stand alone."""

MOST_IMAGES = 20_000_000
_DEPTH = 16
_ENTRIES = 100_000
"""How far misplaced images are looked for, for messages alone."""


@dataclass(frozen=True)
class ImageTree:
    """What was found in a place.

    Attributes:
        folder: The folder that holds the class folders, or the place itself.
        split: Name of the split, or ``all`` where there are none.
        classes: Names of the classes, by label.
        place: The encoded images, in their order.
        labels: Class number of each image.
        ignored: How many files were passed over, as they are no images.
        key: sha256 over all that determines images and labels, as far as it is cheap to know.
        numbered: Whether the labels are numbers that stand in the data; otherwise they are the
            places of the names.
        told: What is to be said of the labels, in a line; "" for nothing.
    """

    folder: Path
    split: str
    classes: tuple[str, ...]
    place: Place
    labels: tuple[int, ...]
    ignored: int
    key: str
    numbered: bool = False
    told: str = ""

    @property
    def paths(self) -> tuple[str, ...]:
        """What messages call the images; their files, where they are files each."""
        return tuple(map(self.place.name, range(len(self.place))))


def subfolders(folder: Path) -> list[str]:
    """Names of the folders in a folder that are not hidden, sorted."""
    with os.scandir(folder) as entries:
        return sorted(e.name for e in entries if not _is_hidden(e.name) and e.is_dir())


def images_of(folder: Path) -> tuple[list[str], list[str]]:
    """Names of the images in a folder, and of its other files, sorted.

    A broken link and a pipe count as images by their names, so that they are reported later and
    not passed over.
    """
    images, others = [], []
    with os.scandir(folder) as entries:
        for entry in entries:
            if has_image_name(entry.name) and not entry.is_dir():
                images.append(entry.name)
            elif entry.is_file():
                others.append(entry.name)
    return sorted(images), sorted(others)


def holds_images(folder: Path) -> bool:
    """Whether there is an image in a folder itself."""
    with os.scandir(folder) as entries:
        return any(has_image_name(entry.name) and not entry.is_dir() for entry in entries)


def has_image_name(name: str) -> bool:
    """Whether a file is an image by its name."""
    return not name.startswith(".") and name.lower().endswith(EXTENSIONS)


def first_image(folder: Path) -> Path | None:
    """The first image anywhere below a folder, as far as the bounds allow."""
    for current, names in walk(folder):
        for name in names:
            if has_image_name(name):
                return current / name
    return None


def walk(folder: Path) -> Iterator[tuple[Path, list[str]]]:
    """Folders below a folder and the names of their files, sorted, as far as the bounds allow."""
    seen = 0
    for current, folders, names in os.walk(folder):
        depth = len(Path(current).parts) - len(folder.parts)
        folders[:] = sorted(name for name in folders if not _is_hidden(name) and depth < _DEPTH)
        yield Path(current), sorted(names)
        seen += len(names) + len(folders)
        if seen > _ENTRIES:
            return


def key_of(paths: Iterable[tuple[str, str]], labels: Sequence[int], classes: Sequence[str]) -> str:
    """sha256 over names, sizes and times of change of files, their labels and the classes.

    Args:
        paths: The name that counts and the path of each file.
        labels: Class number of each image.
        classes: Names of the classes.
    """
    key = hashlib.sha256()
    for name, path in paths:
        about = os.stat(path)  # noqa: PTH116 (many)
        stamp = f"{about.st_size}\0{about.st_mtime_ns}\0{about.st_ctime_ns}"
        key.update(f"{name}\0{stamp}\n".encode(errors="surrogateescape"))
    key.update(repr((list(labels), list(classes))).encode(errors="surrogateescape"))
    return key.hexdigest()


def _is_hidden(name: str) -> bool:
    return name.startswith(".") or name == "__MACOSX"
