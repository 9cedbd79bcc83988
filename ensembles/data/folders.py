"""Trees of image files: one folder for each class, with or without split folders above."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch

from ensembles.data import cache
from ensembles.data.decode import decode, different_sizes, output_size
from ensembles.data.encoded import EXTENSIONS
from ensembles.data.pictures import Files, Pictures, Place
from ensembles.data.pixels import Preprocessing
from ensembles.data.sources import FileSource, MemorySource, Source, spread
from ensembles.data.splits import SPLIT_NAMES, choose_split, match_split
from ensembles.errors import DataError

__all__ = ["ImageTree", "open_files", "open_tree", "scan"]

_LAYOUT = "CLASS/IMAGE or SPLIT/CLASS/IMAGE"
_SMALL_SIDE = 64
_MEMORY = 2**30
_PROBES = 64
_DEPTH = 16
_ENTRIES = 100_000
"""How far misplaced images are looked for, for the message alone."""


@dataclass(frozen=True)
class ImageTree:
    """What was found in a folder.

    Attributes:
        folder: The folder that holds the class folders.
        split: Name of the split folder, or ``all`` where there are none.
        classes: Names of the classes, sorted.
        paths: The image files, sorted by class, then by file name.
        labels: Class number of each file.
        ignored: How many files were passed over, as they are no images.
        key: sha256 over names, sizes and times of change of the files.
    """

    folder: Path
    split: str
    classes: tuple[str, ...]
    paths: tuple[str, ...]
    labels: tuple[int, ...]
    ignored: int
    key: str


def scan(folder: Path, split: str) -> ImageTree:
    """List the images of a folder without opening them.

    Args:
        folder: ``folder/CLASS/IMAGE`` or ``folder/SPLIT/CLASS/IMAGE``.
        split: Which split folder to take; without split folders the whole folder is taken.

    Raises:
        DataError: When there is no such folder, split or image, or the images lie elsewhere in the
            tree; says what was found and what was expected.
    """
    try:
        return _scan(folder, split)
    except OSError as error:
        raise DataError(
            f"cannot read {error.filename or folder}: {error.strerror or error}; expected a "
            f"readable folder with {_LAYOUT}"
        ) from error


def _scan(folder: Path, split: str) -> ImageTree:
    base, split, classes = _layout(folder, split)
    paths: list[str] = []
    labels: list[int] = []
    ignored = _count_files(base)
    key = hashlib.sha256()
    present = {entry.name for entry in _subfolders(base)}
    for label, name in enumerate(classes):
        if name not in present:
            continue
        images, others = _list_class(base, base / name)
        ignored += others
        for image in images:
            about = image.stat()
            key.update(f"{name}/{image.name}\0{about.st_size}\0{about.st_mtime_ns}\n".encode())
            paths.append(image.path)
            labels.append(label)
    key.update(repr(classes).encode())
    return ImageTree(base, split, classes, tuple(paths), tuple(labels), ignored, key.hexdigest())


def open_tree(tree: ImageTree, how: Preprocessing, limit: int | None) -> Source:
    """Decode the images of a folder, or prepare to.

    Small images are decoded at once and kept in the cache; large or many ones stay in their files.

    Args:
        tree: What was found in the folder.
        how: What is done to each image.
        limit: At most so many images, evenly spread.

    Raises:
        DataError: When a file is damaged, or images differ in size and none is given.
    """
    paths, labels = tree.paths, torch.tensor(tree.labels, dtype=torch.int64)
    files = open_files(Files(paths), labels, how)
    some = limit is not None and limit < len(paths)
    chosen = spread(len(paths), limit) if some and limit is not None else None
    channels, height, width = files.shape
    if max(height, width) > _SMALL_SIDE or len(paths) * channels * height * width > _MEMORY:
        return files if chosen is None else files.take(chosen)
    place = hashlib.sha256(f"{tree.folder.resolve()}\0{how.identity}".encode()).hexdigest()
    slot = f"folder-{place[:24]}"
    cached = cache.load(slot, tree.key)
    if cached is not None:
        return cached[0] if chosen is None else cached[0].take(chosen)
    if chosen is not None:
        files = files.take(chosen)
    title = f"decoding {tree.folder.name}"
    images = decode(files.pictures, how, files.expected, reference=files.reference, progress=title)
    source = MemorySource(images, files.labels)
    if chosen is None:
        cache.save(slot, tree.key, source, tree.classes)
    return source


def open_files(place: Place, labels: torch.Tensor, how: Preprocessing) -> FileSource:
    """Prepare to read images from where they lie.

    Where sizes depend on the images, the headers of up to 64 images spread over the list are
    compared now, and the rest when they are decoded.

    Args:
        place: The encoded images.
        labels: int64, (N,).
        how: What is done to each image.

    Raises:
        DataError: When the images differ in size.
    """
    pictures = Pictures(place)
    first = pictures.name(0)
    expected = output_size(pictures, 0, how)
    if how.size is None:
        for index in spread(len(pictures), min(_PROBES, len(pictures))).tolist():
            found = output_size(pictures, index, how)
            if found != expected:
                raise different_sizes(first, expected, pictures.name(index), found)
    return FileSource(pictures, labels, how, expected, first)


def _layout(folder: Path, split: str) -> tuple[Path, str, tuple[str, ...]]:
    """The folder that holds the class folders, the name of its split, and the classes."""
    if not folder.exists():
        raise DataError(f"there is no folder {folder}; expected a folder with {_LAYOUT}")
    if not folder.is_dir():
        raise DataError(f"{folder} is a file; expected a folder with {_LAYOUT}")
    subfolders = _subfolders(folder)
    splits = [
        entry.name
        for entry in subfolders
        if any(_holds_images(Path(inner.path)) for inner in _subfolders(Path(entry.path)))
    ]
    own = match_split(split, (entry.name for entry in subfolders), stand_ins=False)
    if splits and (own in splits or any(name.lower() in SPLIT_NAMES for name in splits)):
        if own is not None and own not in splits:
            raise _misplaced(folder / own, "CLASS/IMAGE")
        name = choose_split(split, splits, str(folder))
        return folder / name, name, _split_classes(folder, name, splits)
    flat = [entry.name.lower() for entry in subfolders if _holds_images(Path(entry.path))]
    if set(flat) <= set(SPLIT_NAMES):
        raise _misplaced(folder, _LAYOUT)
    if split.lower() != "all" and match_split(split, SPLIT_NAMES) is None:
        choose_split(split, ["all", *SPLIT_NAMES], f"{folder}, which has no split folders,")
    return folder, "all", tuple(entry.name for entry in subfolders)


def _split_classes(folder: Path, name: str, splits: list[str]) -> tuple[str, ...]:
    """The classes of a split folder, numbered as in the training split where there is one."""
    own = tuple(entry.name for entry in _subfolders(folder / name))
    train = match_split("train", splits)
    if train is None or train == name:
        return own
    classes = tuple(entry.name for entry in _subfolders(folder / train))
    unknown = sorted(set(own) - set(classes))
    if unknown:
        raise DataError(
            f"{folder / name} has {len(unknown)} class folders that {train} lacks "
            f"({', '.join(unknown[:3])}); expected the classes of {train}, so that class numbers "
            "agree"
        )
    return classes


def _list_class(base: Path, folder: Path) -> tuple[list[os.DirEntry[str]], int]:
    """The images of a class folder, sorted by name, and the number of other files."""
    images: list[os.DirEntry[str]] = []
    others = 0
    for entry in list(os.scandir(folder)):
        if _is_image(entry):
            images.append(entry)
        elif entry.is_file():
            others += 1
        elif (
            entry.is_dir()
            and not _is_hidden(entry.name)
            and (deep := _first_image(Path(entry.path)))
        ):
            raise DataError(
                f"{base} is nested wrongly: found an image at {deep.relative_to(base)}, expected "
                f"CLASS/IMAGE; {_advice(deep)}"
            )
    if not images:
        raise DataError(
            f"the class folder {folder} holds no images (found {others} other files); expected "
            f"at least one of {', '.join(EXTENSIONS)}"
        )
    images.sort(key=lambda entry: entry.name)
    return images, others


def _misplaced(folder: Path, expected: str) -> DataError:
    """The error for a tree with images in the wrong places, or nowhere."""
    image = _first_image(folder)
    if image is None:
        files = sum(len(names) for _, names in _walk(folder))
        found = f"{files:,} other files" if files else "nothing"
        return DataError(
            f"{folder} holds no images (found {found}); expected {expected} with images "
            f"of {', '.join(EXTENSIONS)}"
        )
    return DataError(
        f"{folder} is nested wrongly: found an image at {image.relative_to(folder)}, expected "
        f"{expected}; {_advice(image)}"
    )


def _advice(image: Path) -> str:
    """What to do: which folder to give instead, were the image's own folder its class."""
    if image.parent.name.lower() in SPLIT_NAMES:
        return f"put the images of each class into a folder of its own below {image.parent}"
    better = image.parent.parent
    if better.name.lower() in SPLIT_NAMES:
        better = better.parent
    return f"if its class is {image.parent.name!r}, give the folder {better}"


def _first_image(folder: Path) -> Path | None:
    for current, names in _walk(folder):
        for name in names:
            if _has_image_name(name):
                return current / name
    return None


def _walk(folder: Path) -> Iterator[tuple[Path, list[str]]]:
    """Folders below a folder and the names of their files, sorted, as far as the bounds allow."""
    seen = 0
    for current, folders, names in os.walk(folder):
        depth = len(Path(current).parts) - len(folder.parts)
        folders[:] = sorted(name for name in folders if not _is_hidden(name) and depth < _DEPTH)
        yield Path(current), sorted(names)
        seen += len(names) + len(folders)
        if seen > _ENTRIES:
            return


def _subfolders(folder: Path) -> list[os.DirEntry[str]]:
    found = [entry for entry in os.scandir(folder) if entry.is_dir() and not _is_hidden(entry.name)]
    return sorted(found, key=lambda entry: entry.name)


def _holds_images(folder: Path) -> bool:
    with os.scandir(folder) as entries:
        return any(_is_image(entry) for entry in entries)


def _count_files(folder: Path) -> int:
    return sum(entry.is_file() for entry in os.scandir(folder))


def _is_image(entry: os.DirEntry[str]) -> bool:
    # A broken link and a pipe count, so that they are reported and not passed over.
    return _has_image_name(entry.name) and not entry.is_dir()


def _has_image_name(name: str) -> bool:
    return not name.startswith(".") and name.lower().endswith(EXTENSIONS)


def _is_hidden(name: str) -> bool:
    return name.startswith(".") or name == "__MACOSX"
