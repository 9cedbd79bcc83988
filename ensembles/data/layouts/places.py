"""Which layout a folder or file has, and which part of it is meant."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from ensembles.data.layouts.annotated_folder import (
    Annotations,
    annotations_of,
    flat_images,
    read_annotated,
)
from ensembles.data.layouts.class_tree import class_folders, misplaced, read_classes_of
from ensembles.data.layouts.image_tables import SUFFIXES as TABLES
from ensembles.data.layouts.image_tables import read_tables
from ensembles.data.layouts.image_tree import ImageTree, subfolders
from ensembles.data.layouts.parts import files_of, parts_of
from ensembles.data.layouts.tar_shards import SUFFIXES as SHARDS
from ensembles.data.layouts.tar_shards import read_shards
from ensembles.data.splits import SPLIT_NAMES, choose_split, match_split
from ensembles.errors import DataError

__all__ = ["find_images"]

_LAYOUT = "CLASS/IMAGE or SPLIT/CLASS/IMAGE"


def find_images(folder: Path, split: str) -> ImageTree:
    """List the labelled images of a folder without opening them.

    Args:
        folder: ``folder/CLASS/IMAGE`` or ``folder/SPLIT/CLASS/IMAGE``; in place of class folders a
            file of labels may lie beside the images. Or a file of WebDataset or a table of images,
            or a folder of such.
        split: Which split folder to take; without split folders the whole folder is taken.

    Raises:
        DataError: When there is no such folder, split or image, the images lie elsewhere in the
            tree, or have no labels; says what was found and what was expected.
    """
    if not folder.exists():
        raise DataError(f"there is no folder {folder}; expected a folder with {_LAYOUT}")
    if not folder.is_dir():
        packed = _packed(folder, split)
        if packed is not None:
            return packed
        raise DataError(
            f"{folder} is a file; expected a folder with {_LAYOUT}, a WebDataset file "
            "(.tar), or a table of images (.parquet, .arrow)"
        )
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
    found = _labels(folder, of_split=True)
    if isinstance(found, Annotations):
        _check_split(folder, split)
        return read_annotated(found, "all")
    if all(map(_is_split, found)):
        packed = _packed(folder, split)
        if packed is not None:
            return packed
        raise _bare(folder, _LAYOUT)
    _check_split(folder, split)
    return read_classes_of(folder, "all", found)


def _packed(place: Path, split: str) -> ImageTree | None:
    """Images of files that hold many each, if there are such."""
    kinds = ((SHARDS, read_shards), (TABLES, read_tables))
    for suffixes, read in kinds:
        if not place.is_dir():
            files = [place] if place.name.lower().endswith(suffixes) else []
        else:
            files = files_of(place, suffixes)
        if files:
            parts = parts_of(files, place) if place.is_dir() else {"all": files}
            return read(parts, place, split)
    return None


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
    if home is None or home == folder:
        return misplaced(folder, expected)
    return DataError(
        f"the images of {home} have no labels: they lie in no class folders, and no file there "
        f"gives them; expected {expected}, or a file of names and labels such as "
        "val_annotations.txt"
    )


def _noted(tree: ImageTree, told: str) -> ImageTree:
    return replace(tree, told="; ".join(filter(None, (told, tree.told))))
