"""Trees of image files: one folder for each class, with or without split folders above."""

from __future__ import annotations

import hashlib
from pathlib import Path

import torch

from ensembles.data import cache
from ensembles.data.decode import decode, different_sizes, output_size
from ensembles.data.layouts import ImageTree, find_images
from ensembles.data.pictures import Pictures, Place
from ensembles.data.pixels import Preprocessing
from ensembles.data.sources import FileSource, MemorySource, Source, spread
from ensembles.errors import DataError
from ensembles.printable import printable

__all__ = ["ImageTree", "open_files", "open_tree", "scan"]

_LAYOUT = "CLASS/IMAGE or SPLIT/CLASS/IMAGE"
_SMALL_SIDE = 64
_MEMORY = 2**30
_PROBES = 64


def scan(folder: Path, split: str, labels: str | None = None) -> ImageTree:
    """List the images of a folder without opening them.

    Args:
        folder: ``folder/CLASS/IMAGE`` or ``folder/SPLIT/CLASS/IMAGE``.
        split: Which split folder to take; without split folders the whole folder is taken.
        labels: Where the labels stand, as ``find_images`` takes it.

    Raises:
        DataError: When there is no such folder, split or image, or the images lie elsewhere in the
            tree; says what was found and what was expected.
    """
    try:
        return find_images(folder, split, labels)
    except OSError as error:
        raise DataError(
            f"cannot read {error.filename or folder}: {error.strerror or error}; expected a "
            f"readable folder with {_LAYOUT}"
        ) from error


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
    total, labels = len(tree.labels), torch.tensor(tree.labels, dtype=torch.int64)
    files = open_files(tree.place, labels, how)
    some = limit is not None and limit < total
    chosen = spread(total, limit) if some and limit is not None else None
    channels, height, width = files.shape
    if max(height, width) > _SMALL_SIDE or total * channels * height * width > _MEMORY:
        return files if chosen is None else files.take(chosen)
    place = hashlib.sha256(f"{tree.folder.resolve()}\0{how.identity}".encode()).hexdigest()
    slot = f"folder-{place[:24]}"
    cached = cache.load(slot, tree.key)
    if cached is not None:
        return cached[0] if chosen is None else cached[0].take(chosen)
    if chosen is not None:
        return _decoded(tree, how, files.take(chosen))
    with cache.filling(slot):
        cached = cache.load(slot, tree.key)
        if cached is not None:
            return cached[0]
        source = _decoded(tree, how, files)
        cache.save(slot, tree.key, source, tree.classes)
        return source


def _decoded(tree: ImageTree, how: Preprocessing, files: FileSource) -> MemorySource:
    title = printable(f"decoding {tree.folder.name}", lines=False)
    images = decode(files.pictures, how, files.expected, reference=files.reference, progress=title)
    return MemorySource(images, files.labels)


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
