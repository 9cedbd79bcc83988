"""Trees of image files: one folder for each class."""

from __future__ import annotations

from pathlib import Path

from ensembles.data.class_numbers import class_order
from ensembles.data.encoded import EXTENSIONS
from ensembles.data.layouts.image_tree import (
    CONTAINERS,
    ImageTree,
    first_image,
    holds_images,
    images_of,
    key_of,
    subfolders,
    walk,
)
from ensembles.data.pictures import Files
from ensembles.data.splits import SPLIT_NAMES
from ensembles.errors import DataError

__all__ = ["advice", "class_folders", "misplaced", "read_classes_of"]

_INNER = "images"
"""A folder in each class folder, in Tiny ImageNet."""


def class_folders(folder: Path) -> tuple[str, ...]:
    """Names of the class folders of a folder, in the order of the classes; () where it has none.

    A folder is one when images lie in it, or in its folder ``images``. One that stands alone under
    a name such as ``images`` is none.
    """
    names = subfolders(folder)
    found = [name for name in names if _images_folder(folder / name) is not None]
    alone = len(names) == 1 and names[0].lower() in CONTAINERS
    return () if alone or not found else class_order(names)


def read_classes_of(folder: Path, split: str, classes: tuple[str, ...]) -> ImageTree:
    """The images of all class folders of a folder.

    Args:
        folder: Holds the class folders.
        split: Its name.
        classes: Names by label; those that are not there have no images.

    Raises:
        DataError: When a class folder holds no images, or holds them deeper.
    """
    paths: list[tuple[str, str]] = []
    labels: list[int] = []
    there = set(subfolders(folder))
    _, others = images_of(folder)
    ignored = len(others) + len(images_of(folder)[0])
    for label, name in enumerate(classes):
        if name not in there:
            continue
        home, images, passed = _list_class(folder, folder / name)
        ignored += passed
        paths += [(f"{name}/{image}", str(home / image)) for image in images]
        labels += [label] * len(images)
    place = Files([path for _, path in paths])
    return ImageTree(
        folder, split, classes, place, tuple(labels), ignored, key_of(paths, labels, classes)
    )


def _images_folder(folder: Path) -> Path | None:
    """Where the images of a class folder lie: in it, or in its folder ``images``."""
    if holds_images(folder):
        return folder
    inner = folder / _INNER
    return inner if inner.is_dir() and holds_images(inner) else None


def _list_class(base: Path, folder: Path) -> tuple[Path, list[str], int]:
    """Where the images of a class lie, their names, and the number of other files."""
    home = _images_folder(folder)
    images, others = images_of(home or folder)
    ignored = len(others)
    if home is not None and home != folder:
        ignored += len(images_of(folder)[1])
    for name in subfolders(folder):
        if folder / name == home:
            continue
        deep = first_image(folder / name)
        if deep is not None:
            raise DataError(
                f"{base} is nested wrongly: found an image at {deep.relative_to(base)}, expected "
                f"CLASS/IMAGE; {advice(deep)}"
            )
    if not images:
        raise DataError(
            f"the class folder {folder} holds no images (found {len(others)} other files); "
            f"expected at least one of {', '.join(EXTENSIONS)}"
        )
    return home or folder, images, ignored


def misplaced(folder: Path, expected: str) -> DataError:
    """The error for a tree with images in the wrong places, or nowhere."""
    image = first_image(folder)
    if image is None:
        files = sum(len(names) for _, names in walk(folder))
        found = f"{files:,} other files" if files else "nothing"
        return DataError(
            f"{folder} holds no images (found {found}); expected {expected} with images "
            f"of {', '.join(EXTENSIONS)}"
        )
    return DataError(
        f"{folder} is nested wrongly: found an image at {image.relative_to(folder)}, expected "
        f"{expected}; {advice(image)}"
    )


def advice(image: Path) -> str:
    """What to do: which folder to give instead, were the image's own folder its class."""
    own = image.parent
    inner = own.name.lower() == _INNER
    home = own.parent if inner else own
    if own.name.lower() in SPLIT_NAMES or (inner and home.name.lower() in SPLIT_NAMES):
        return (
            "put a file with their labels there, such as val_annotations.txt, or the images of "
            f"each class into a folder of its own below {home}"
        )
    better = home.parent
    if better.name.lower() in SPLIT_NAMES:
        better = better.parent
    return f"if its class is {home.name!r}, give the folder {better}"
