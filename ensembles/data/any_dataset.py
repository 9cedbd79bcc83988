"""One way to open any data set: by its name, or by its folder."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from ensembles.data.array_files import is_array_file, read_arrays
from ensembles.data.arrays import RowSource
from ensembles.data.cache import data_folder
from ensembles.data.dataset import ImageDataset, check_limit
from ensembles.data.digits import CLASSES, load_digits
from ensembles.data.folders import open_tree, scan
from ensembles.data.layouts.parts import numbered_files
from ensembles.data.normalization import AS_GIVEN, NAMED, Normalization
from ensembles.data.pixels import ImageSize, Preprocessing
from ensembles.data.public_sets import open_imagenet, open_known
from ensembles.data.registry import SETS, canonical_name
from ensembles.data.sources import MemorySource, Source, prepared_source
from ensembles.data.splits import choose_split
from ensembles.errors import DataError, UsageError, nearest
from ensembles.files import home_expanded

__all__ = ["dataset", "has_normalization"]

_IMAGENET = Preprocessing.of_size((256, 224))


def dataset(
    name_or_folder: str | os.PathLike[str],
    split: str = "test",
    *,
    limit: int | None = None,
    normalize: Normalization | str | None = None,
    root: str | os.PathLike[str] | None = None,
    download: bool = True,
    image_size: ImageSize = None,
    preprocessing: Preprocessing | None = None,
    labels: str | os.PathLike[str] | None = None,
) -> ImageDataset:
    """Open a data set.

    Args:
        name_or_folder: A name of ``known_datasets()``; a folder with ``CLASS/IMAGE`` or
            ``SPLIT/CLASS/IMAGE``; or a file of arrays (``.npz``, ``.npy``) or a table (``.csv``,
            ``.tsv``) with labels. A name wins over a folder of that name; write ``./digits`` then.
        split: The part: ``train`` or ``test``; ``val`` stands for ``test`` and the other way round
            where only one of them exists. A folder without split folders is taken whole.
        limit: At most so many images, spread evenly over the set (see ``ImageDataset.limited``).
        normalize: A normalisation, its name, or ``m,m,m/s,s,s``; otherwise the data set's own. A
            folder has none: its pixels are on the scale 0 to 1 then, which a warning says.
        root: Where named data sets lie; otherwise ``$ENSEMBLES_DATA`` or the user's cache folder.
        download: Whether a named data set that is not there may be fetched.
        image_size: Side of a square: the shorter side is resized to it, and the middle cut out.
            A pair ``(256, 224)`` resizes to the first and cuts the second. The default of ImageNet
            is ``(256, 224)``; other images are taken as they are.
        preprocessing: What is done to the images, in place of ``image_size``; its normalisation
            counts where ``normalize`` is not given.
        labels: Where the labels stand, where it is not the usual place: the column of a table, the
            array of a ``.npz``, the file of labels of images without class folders
            (``FILE:COLUMN`` for one of several columns), the ending or the name in ``.json`` of
            WebDataset.

    Returns:
        The images in a fixed order.

    Raises:
        DataError: When the data set, the split or a file is missing, misplaced or damaged.
        UsageError: When ``limit``, ``normalize`` or ``image_size`` cannot be meant, or
            ``image_size`` and ``preprocessing`` are both given.
    """
    check_limit(limit)
    how = _how(image_size, preprocessing)
    chosen = how.normalization if normalize is None else Normalization.parse(normalize)
    opener = partial(dataset, name_or_folder, root=root, download=download, preprocessing=how)
    where = None if labels is None else os.fspath(labels)
    if where is not None and not Path(where).is_file():
        opener = partial(opener, labels=where)  # a file gives the labels of one split
    name = _registered(name_or_folder)
    if name is not None and where is not None:
        raise UsageError(f"{name} has labels of its own; leave out {where!r}")
    if name is None and is_array_file(home_expanded(name_or_folder)):
        asked = None if normalize is None else chosen
        result = _open_arrays(
            name_or_folder, split, replace(how, normalization=chosen), asked, opener, labels=where
        )
    elif name is None:
        folder = home_expanded(name_or_folder)
        tree = scan(folder, split, where)
        source = open_tree(tree, how, limit)
        result = ImageDataset(
            str(name_or_folder),
            tree.split,
            tree.classes,
            source,
            chosen or NAMED["none"],
            preprocessing=how,
            numbered=tree.numbered,
            named=not tree.numbered,
            about_labels=tree.told,
            assumed=chosen is None,
            ignored_files=tree.ignored,
            opener=opener,
        )
    else:
        split = choose_split(split, SETS[name].splits, name)
        if name == "imagenet" and how.resize is None and how.crop is None:
            how = replace(how, resize=_IMAGENET.resize, crop=_IMAGENET.crop)
        source, classes = _open_named(
            name, split, root=data_folder(root), how=how, limit=limit, download=download
        )
        known = chosen or _own(name, how)
        result = ImageDataset(name, split, classes, source, known, preprocessing=how, opener=opener)
    return result if limit is None else result.limited(limit)


def _how(size: ImageSize, preprocessing: Preprocessing | None) -> Preprocessing:
    if preprocessing is None:
        return Preprocessing.of_size(size)
    if size is not None:
        raise UsageError("image_size and preprocessing are both given; expected one of them")
    return preprocessing


def _open_arrays(
    name: str | os.PathLike[str],
    split: str,
    how: Preprocessing,
    asked: Normalization | None,
    opener: Callable[..., ImageDataset],
    *,
    labels: str | None,
) -> ImageDataset:
    """Images of 8 bits, made as any others; or rows as they are."""
    found = read_arrays(home_expanded(name), split, labels)
    about: dict[str, Any] = {"opener": opener, "numbered": not found.named, "named": found.named}
    source: Source
    if found.are_images:
        source = prepared_source(MemorySource(found.inputs, found.labels), how)
        normal = how.normalization or NAMED["none"]
        about |= {"preprocessing": how, "assumed": how.normalization is None}
    elif asked is not None and asked != AS_GIVEN:
        raise DataError(
            f"{name} holds rows that are taken as they are; leave out the normalisation, or save "
            "images as whole numbers of 8 bits (uint8)"
        )
    else:
        source, normal = RowSource(found.inputs, found.labels), AS_GIVEN
    return ImageDataset(str(name), found.split, found.classes, source, normal, **about)


def has_normalization(name_or_folder: str | os.PathLike[str]) -> bool:
    """Whether data have a normalisation of their own, as those that are known by name do."""
    return _registered(name_or_folder) is not None


def _registered(name_or_folder: str | os.PathLike[str]) -> str | None:
    """The registered name that is meant, or None for a folder."""
    if not isinstance(name_or_folder, str):
        return None
    if name_or_folder in SETS:
        return name_or_folder
    path = home_expanded(name_or_folder)
    if name_or_folder and (path.exists() or numbered_files(path)):
        return None
    name = canonical_name(name_or_folder)
    if name is None and os.sep not in name_or_folder:
        raise DataError(
            f"no data set or folder {name_or_folder!r}; known are {', '.join(SETS)}"
            f"{nearest(name_or_folder.lower(), SETS)}"
        )
    return name


def _own(name: str, how: Preprocessing) -> Normalization:
    """The normalisation of a known data set; its mean over the channels for grey images."""
    own = NAMED[name]
    if how.channels == len(own.mean) or len(own.mean) == 1:
        return own
    return Normalization((sum(own.mean) / 3,), (sum(own.std) / 3,))


def _open_named(
    name: str, split: str, *, root: Path, how: Preprocessing, limit: int | None, download: bool
) -> tuple[Source, tuple[str, ...]]:
    if name == "imagenet":
        return open_imagenet(split, root, how, limit)
    if name == "digits":
        held, classes = load_digits(split), CLASSES
    else:
        held, classes = open_known(name, split, root, download=download)
    return prepared_source(held, how), classes
