"""Which layout a folder or file has, and which part of it is meant."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from ensembles.data.layouts.annotated_folder import (
    Annotations,
    annotations_by,
    annotations_of,
    flat_images,
    label_candidates,
    read_annotated,
)
from ensembles.data.layouts.class_tree import class_folders, misplaced, read_classes_of
from ensembles.data.layouts.image_tables import SUFFIXES as TABLES
from ensembles.data.layouts.image_tables import read_tables
from ensembles.data.layouts.image_tree import ImageTree, subfolders
from ensembles.data.layouts.parts import files_of, numbered_files, parts_of
from ensembles.data.layouts.tar_shards import SUFFIXES as SHARDS
from ensembles.data.layouts.tar_shards import read_shards
from ensembles.data.splits import SPLIT_NAMES, choose_split, match_split
from ensembles.errors import DataError

__all__ = ["find_images"]

_LAYOUT = "CLASS/IMAGE or SPLIT/CLASS/IMAGE"


def find_images(folder: Path, split: str, labels: str | None = None) -> ImageTree:
    """List the labelled images of a folder without opening them.

    Args:
        folder: ``folder/CLASS/IMAGE`` or ``folder/SPLIT/CLASS/IMAGE``; in place of class folders a
            file of labels may lie beside the images. Or a file of WebDataset or a table of images,
            or a folder of such, or several by their numbers (``val-{000..006}.tar``).
        split: Which split folder to take; without split folders the whole folder is taken.
        labels: Where the labels stand: the file of images without class folders, or ``FILE:COLUMN``
            of it; the column of a table; the ending or the name in ``.json`` of WebDataset.

    Raises:
        DataError: When there is no such folder, split or image, the images lie elsewhere in the
            tree, or have no labels; says what was found and what was expected.
    """
    if not folder.is_dir():
        return _of_files(folder, split, labels)
    if labels is not None:
        packed = _packed_files(folder)
        if not packed:
            return _labelled_by(folder, split, labels)
        return _packed(packed, folder, split, labels, top=folder)
    names = subfolders(folder)
    own = match_split(split, names, stand_ins=False)
    parts = {
        name: _labels(folder / name, of_split=_is_split(name) or name == own) for name in names
    }
    labelled = {name: kind for name, kind in parts.items() if kind}
    if labelled and (own in labelled or any(map(_is_split, labelled))):
        told = ""
        if own is not None and own not in labelled:
            stand_in = match_split(split, labelled)
            if flat_images(folder / own) is None or stand_in is None:
                raise _bare(folder / own, "CLASS/IMAGE")
            told = f"{own} holds images without labels, so {stand_in} is measured"
        return _noted(_part(folder, choose_split(split, labelled, str(folder)), labelled), told)
    return _whole(folder, split)


def _whole(folder: Path, split: str) -> ImageTree:
    """Images of a folder without split folders."""
    found = _labels(folder, of_split=True)
    if isinstance(found, Annotations):
        _check_split(folder, split)
        return read_annotated(found, "all")
    if all(map(_is_split, found)):
        packed = _packed_files(folder)
        if packed:
            return _packed(packed, folder, split, None, top=folder)
        raise _bare(folder, _LAYOUT)
    _check_split(folder, split)
    return read_classes_of(folder, "all", found)


def _of_files(place: Path, split: str, labels: str | None) -> ImageTree:
    """Images of a file, or of several by their numbers."""
    several = [] if place.exists() else numbered_files(place)
    if several:
        return _packed(several, place, split, labels, top=place.parent)
    if not place.exists():
        raise DataError(f"there is no folder {place}; expected a folder with {_LAYOUT}")
    return _packed([place], place, split, labels)


def _packed_files(folder: Path) -> list[Path]:
    """Files in a folder that hold many images each, if there are such; all of one ending."""
    return next((found for ending in (SHARDS, TABLES) if (found := files_of(folder, ending))), [])


def _packed(
    files: list[Path], place: Path, split: str, labels: str | None, *, top: Path | None = None
) -> ImageTree:
    """Images of files that hold many each, whose parts their names below a folder tell."""
    lacking = [path for path in files if not path.exists()]
    if lacking:
        raise DataError(
            f"{place} stands for {len(files):,} files, of which {len(lacking):,} are not there "
            f"({lacking[0].name})"
        )
    parts = {"all": files} if top is None else parts_of(files, top)
    for suffixes, read in ((SHARDS, read_shards), (TABLES, read_tables)):
        if all(path.name.lower().endswith(suffixes) for path in files):
            return read(parts, place, split, labels)
    raise DataError(
        f"{place} is a file; expected a folder with {_LAYOUT}, a WebDataset file (.tar), or a "
        "table of images (.parquet, .arrow)"
    )


def _labelled_by(folder: Path, split: str, labels: str) -> ImageTree:
    """Images of a folder, or of its folder of a split, with the labels of a file that is named."""
    own = match_split(split, subfolders(folder))
    home = folder if own is None else folder / own
    if flat_images(home) is None:
        folders = class_folders(home)
        what = f"class folders ({', '.join(folders[:3])})" if folders else "no images"
        raise DataError(
            f"{home} has {what}, so that {labels} cannot give labels; expected images that lie "
            "there without class folders"
        )
    found = annotations_by(home, labels)
    train = next((name for name in subfolders(folder) if match_split("train", [name])), None)
    known = class_folders(folder / train) if train not in (None, own) and train else ()
    return read_annotated(found, own or "all", known)


def _is_split(name: str) -> bool:
    return name.lower() in SPLIT_NAMES


def _labels(folder: Path, *, of_split: bool) -> tuple[str, ...] | Annotations:
    """How the images of a folder are labelled: by class folders, by a file, or not at all: ()."""
    found = annotations_of(folder) if of_split else None
    return class_folders(folder) if found is None else found


def _check_split(folder: Path, split: str) -> None:
    if split.lower() != "all" and match_split(split, SPLIT_NAMES) is None:
        choose_split(split, ["all", *SPLIT_NAMES], f"{folder}, which has no split folders,")


def _part(folder: Path, name: str, labelled: dict[str, tuple[str, ...] | Annotations]) -> ImageTree:
    """A split folder, its classes numbered as in the training split where there is one."""
    own = labelled[name]
    train = match_split("train", labelled)
    trained = None if train is None or train == name else labelled[train]
    known = trained if isinstance(trained, tuple) else ()
    if isinstance(own, Annotations):
        return read_annotated(own, name, known)
    unknown = sorted(set(own) - set(known)) if known else []
    if unknown:
        raise DataError(
            f"{folder / name} has {len(unknown)} class folders that {train} lacks "
            f"({', '.join(unknown[:3])}); expected the classes of {train}, so that class numbers "
            "agree"
        )
    return read_classes_of(folder / name, name, known or own)


def _bare(folder: Path, expected: str) -> DataError:
    """The error for images without labels, or in the wrong places, or for none."""
    home = flat_images(folder)
    files = [] if home is None else label_candidates(folder)
    if files:
        return DataError(
            f"the images of {home} have no labels that are understood: they lie in no class "
            f"folders, and {files[0]} does not give a name and a label in each line; name the "
            "file, or one of its columns, with --labels FILE:COLUMN"
        )
    if home is None or home == folder:
        return misplaced(folder, expected)
    return DataError(
        f"the images of {home} have no labels: they lie in no class folders, and no file there "
        f"gives them; expected {expected}, or a file of names and labels such as "
        "val_annotations.txt"
    )


def _noted(tree: ImageTree, told: str) -> ImageTree:
    return replace(tree, told="; ".join(filter(None, (told, tree.told))))
