"""Files of arrays and tables with labels: .npy, .npz, .csv and .tsv."""

from __future__ import annotations

import io
import math
import re
import tokenize
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from numpy.lib import format as npy
from torch import Tensor

from ensembles.data.class_numbers import class_order
from ensembles.data.splits import SPLIT_NAMES, choose_split
from ensembles.errors import DataError

__all__ = ["SUFFIXES", "Arrays", "is_array_file", "read_arrays"]

SUFFIXES = (".npy", ".npz", ".csv", ".tsv")
MOST_BYTES = 2**33
"""Bytes of one array, or of one table as text, 8 GiB."""

_UNPACKED, _RATIO = 2**30, 100
"""More than a GiB is unpacked only from a hundredth of it, or more."""

INPUTS = ("x", "images", "image", "inputs", "input", "data", "features", "arr_0")
LABELS = ("y", "labels", "label", "targets", "target", "class", "classes", "arr_1")
_DAMAGE = (
    ValueError, OSError, EOFError, RuntimeError, KeyError, SyntaxError, MemoryError, OverflowError,
    tokenize.TokenError, zipfile.BadZipFile, zlib.error,
)  # fmt: skip
_IN_FILES = ("x", "images", "inputs", "data", "features")


@dataclass(frozen=True)
class Arrays:
    """Rows with labels, as a file holds them.

    Attributes:
        inputs: uint8 images (N, C, H, W) of 3 channels, or any rows (N, ...): float32, or int64.
        labels: int64, (N,).
        classes: Names of the classes: the texts of text labels in order, or the numbers.
        named: Whether the labels are texts.
        split: The part; ``all`` where the file has no parts.
    """

    inputs: Tensor
    labels: Tensor
    classes: tuple[str, ...]
    named: bool
    split: str

    @property
    def are_images(self) -> bool:
        """Whether the rows are 8-bit images, which are still to be normalised."""
        return self.inputs.dtype == torch.uint8


def is_array_file(path: Path) -> bool:
    """Whether a path is a file of arrays or a table, by its name."""
    return path.suffix.lower() in SUFFIXES and not path.is_dir()


def read_arrays(path: Path, split: str, labels: str | None = None) -> Arrays:
    """Read a file of arrays or a table; nothing in it is run.

    * ``.npz``: an array of inputs (``x``, ``images``, ``inputs``, ``data``, ``features``) and one
      of labels (``y``, ``labels``, ``targets``); with a split in front or behind where there are
      several (``x_test``, ``test_labels``).
    * ``.npy``: the inputs; the labels lie beside it, in the file that has ``y`` or ``labels`` in
      place of ``x``, ``images`` and the like, or behind the name (``ecg_labels.npy``).
    * ``.csv``, ``.tsv``: a line of names, then a row of numbers each; the labels are the column
      ``label``, ``target``, ``class`` or ``y``, and a column ``split`` may name the part.

    Whole numbers of 8 bits (uint8) are images: (N, H, W), (N, H, W, 1 or 3) or (N, 1 or 3, H, W);
    grey ones get three equal channels. Other arrays are rows of any shape, given as they are.

    Args:
        path: The file.
        split: Which part to take, where it has several.
        labels: Name of the array or column of the labels, or the file of those of a ``.npy``; by
            default one of the usual names.

    Raises:
        DataError: When it cannot be read, or does not say what are inputs and what labels.
    """
    try:
        size = path.stat().st_size
        if not path.is_file() or size > MOST_BYTES:
            raise DataError(f"{path} is no plain file of at most {MOST_BYTES:,} bytes")
        readers = {".npz": _read_archive, ".npy": _read_pair}
        x, y, part = readers.get(path.suffix.lower(), _read_table)(path, split, labels)
    except _DAMAGE as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise DataError(f"{path} is damaged or no such file: {reason}") from error
    inputs = _inputs(x, path)
    if len(inputs) != len(y) or not len(y):
        raise DataError(
            f"{path} ({part}) has {len(inputs):,} inputs and {len(y):,} labels; expected one label "
            "for each, and at least one"
        )
    numbers, classes, named = _labels(y, path)
    return Arrays(inputs, numbers, classes, named, part)


def _read_archive(path: Path, split: str, labels: str | None) -> tuple[Any, Any, str]:
    with zipfile.ZipFile(path) as archive:
        members = {
            info.filename.removesuffix(".npy"): info
            for info in archive.infolist()
            if info.filename.endswith(".npy")
        }
        x, y, part = _halves(
            list(members), split, path, LABELS if labels is None else (labels.lower(),)
        )
        arrays = []
        for name in (x, y):
            info = members[name]
            bomb = info.file_size > max(_UNPACKED, _RATIO * info.compress_size)
            if info.file_size > MOST_BYTES or bomb:
                raise DataError(
                    f"{path}: {name} unpacks from {info.compress_size:,} to {info.file_size:,} "
                    f"bytes; expected at most {MOST_BYTES:,}, and {_RATIO} times the packed ones"
                )
            content = archive.read(info)
            arrays.append(_array(io.BytesIO(content), len(content), f"{path}: {name}"))
    return arrays[0], arrays[1], part


def _halves(
    names: Sequence[str], split: str, path: Path, nouns: Sequence[str]
) -> tuple[str, str, str]:
    """Names of the inputs and of the labels of a part, and the part."""
    whole = _only(names, INPUTS, ""), _only(names, nouns, "")
    if all(whole):
        return str(whole[0]), str(whole[1]), "all"
    parts = {}
    for part in SPLIT_NAMES:
        x, y = _only(names, INPUTS, part), _only(names, nouns, part)
        if x and y:
            parts[part] = x, y
    if parts:
        chosen = choose_split(split, parts, str(path))
        return (*parts[chosen], chosen)
    listed = ", ".join(names[:6]) + (", ..." if len(names) > 6 else "") or "no arrays"
    raise DataError(
        f"{path} holds {listed}; expected one array of inputs ({', '.join(INPUTS)}) and one of "
        f"labels ({', '.join(nouns)}), or both with a split as in x_test and y_test"
    )


def _only(names: Sequence[str], nouns: Sequence[str], part: str) -> str | None:
    """The one of some names that is a noun, with a part before or behind it; else None."""
    forms = {f"{part}_{noun}" for noun in nouns} | {f"{noun}_{part}" for noun in nouns}
    wanted = forms if part else set(nouns)
    found = [name for name in names if name.lower() in wanted]
    return found[0] if len(found) == 1 else None


def _read_pair(path: Path, split: str, labels: str | None) -> tuple[Any, Any, str]:
    names = list(dict.fromkeys(_label_files(path.stem)))
    beside = [one for name in names if (one := path.with_name(f"{name}.npy")).is_file()]
    if labels is not None:
        beside = [Path(labels).expanduser()]
    if len(beside) != 1 or beside[0] == path:
        found = " and ".join(one.name for one in beside) or "none of them"
        looked = ", ".join(f"{name}.npy" for name in names[:4])
        raise DataError(
            f"the labels of {path} are looked for beside it as {looked}, and {found} is there; "
            "expected one of these files, or a .npz file with the arrays x and y"
        )
    arrays = []
    for one in (path, beside[0]):
        with one.open("rb") as file:
            arrays.append(_array(file, one.stat().st_size, str(one)))
    return arrays[0], arrays[1], "all"


def _label_files(stem: str) -> list[str]:
    """Names that the labels of a file of inputs may have."""
    swapped = [
        re.sub(rf"(?i)(?<![a-z]){noun}(?![a-z])", label, stem)
        for noun in _IN_FILES
        for label in ("y" if noun == "x" else "labels", "labels")
        if re.search(rf"(?i)(?<![a-z]){noun}(?![a-z])", stem)
    ]
    return [*swapped, f"{stem}_labels", f"{stem}_y", "labels", "y"]


def _array(file: BinaryIO, size: int, origin: str) -> np.ndarray[Any, Any]:
    """An array whose header was held against the bytes that there are."""
    version = npy.read_magic(file)
    if version not in ((1, 0), (2, 0)):
        raise DataError(f"{origin} is an array of version {version}; expected 1.0 or 2.0")
    read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
    shape, _, dtype = read(file)
    if dtype.hasobject or dtype.names:
        raise DataError(
            f"{origin} holds Python objects or records, which are not read; save plain numbers "
            "or texts"
        )
    held = size - file.tell()
    if any(side < 0 for side in shape) or math.prod(shape) * dtype.itemsize != held:
        raise DataError(
            f"{origin} is damaged: it declares {math.prod(shape) * dtype.itemsize:,} bytes of "
            f"shape {shape}, and holds {held:,}"
        )
    file.seek(0)
    return np.asarray(npy.read_array(file, allow_pickle=False))


def _read_table(path: Path, split: str, column: str | None) -> tuple[Any, Any, str]:
    import pandas as pd  # noqa: PLC0415 (slow to import)

    frame = pd.read_csv(path, sep="\t" if path.suffix.lower() == ".tsv" else ",")
    names = [str(name) for name in frame.columns]
    if names and all(_is_number(name) for name in names):
        raise DataError(f"{path} begins with numbers; expected a line with names of the columns")
    labels = [n for n in names if (n.lower() in LABELS if column is None else n == column)]
    if len(labels) != 1:
        found = " and ".join(labels) or ", ".join(names[:6])
        if column is not None:
            raise DataError(f"{path} has no column {column!r} of labels; it has {found}")
        raise DataError(
            f"{path} is a file; expected a folder of images, or a table with one column of labels "
            "(label, target, class or y) and numbers in the others; found the columns "
            f"{found}"
        )
    part, parts = "all", [name for name in names if name.lower() == "split"]
    if parts:
        of = frame[parts[0]].astype(str)
        part = choose_split(split, sorted(set(of)), str(path))
        frame = frame[of == part]
    rest = frame.drop(columns=[*labels, *parts])
    for name in rest.columns:
        _check_column(rest[name], str(name), path)
    if not len(rest.columns):
        raise DataError(f"{path} has no columns beside {labels[0]}; expected numbers")
    return rest.to_numpy(np.float32), _plain(frame[labels[0]], labels[0], path), part


def _check_column(column: Any, name: str, path: Path) -> None:
    if name.startswith("Unnamed: "):
        raise DataError(
            f"{path} has a column without a name, as pandas writes row numbers; write it with "
            "index=False, or name the column"
        )
    if not _is_of(column, "iufb"):
        value = next(one for one in column if not _is_number(one))
        raise DataError(
            f"{path}, column {name} holds {str(value)[:40]!r}; expected numbers in all columns but "
            "the labels'"
        )
    if column.isna().any():
        line = int(np.flatnonzero(column.isna())[0]) + 2
        raise DataError(f"{path}, column {name} is empty in line {line}; expected a number")


def _plain(column: Any, name: str, path: Path) -> np.ndarray[Any, Any]:
    """Labels of a table as numbers or texts."""
    if column.isna().any():
        line = int(np.flatnonzero(column.isna())[0]) + 2
        raise DataError(f"{path}, column {name} is empty in line {line}; expected a label")
    return np.asarray(column if _is_of(column, "iufb") else [str(value) for value in column])


def _is_of(values: Any, letters: str) -> bool:
    """Whether the type of an array or a column is one of some of NumPy's."""
    return {values.dtype.kind} <= set(letters)


def _is_number(value: Any) -> bool:
    try:
        float(value)
    except (TypeError, ValueError):
        return False
    return True


def _inputs(array: np.ndarray[Any, Any], path: Path) -> Tensor:
    """Images of 8 bits with three channels in front, or rows as they are."""
    if array.ndim < 2 or not _is_of(array, "iuf"):
        raise DataError(
            f"{path} has inputs of shape {array.shape} and type {array.dtype}; expected numbers "
            "(N, ...)"
        )
    if array.dtype != np.uint8:
        rows = torch.from_numpy(np.ascontiguousarray(array, dtype=_TYPES[array.dtype.kind]))
        if rows.is_floating_point() and not bool(rows.isfinite().all()):
            raise DataError(f"{path} has inputs that are not finite; expected finite numbers")
        return rows
    images = array[:, None] if array.ndim == 3 else array
    if images.ndim == 4 and images.shape[-1] in (1, 3):
        images = images.transpose(0, 3, 1, 2)
    if images.ndim != 4 or images.shape[1] not in (1, 3):
        raise DataError(
            f"{path} has 8-bit inputs of shape {array.shape}, which are no images (N, H, W), "
            "(N, H, W, 1 or 3) or (N, 1 or 3, H, W); save other rows as float32, as the network "
            "takes them"
        )
    images = np.broadcast_to(images, (len(images), 3, *images.shape[2:]))
    return torch.from_numpy(np.array(images, order="C"))


_TYPES: Mapping[str, Any] = {"i": np.int64, "u": np.int64, "f": np.float32}


def _labels(array: np.ndarray[Any, Any], path: Path) -> tuple[Tensor, tuple[str, ...], bool]:
    """Class numbers of labels as numbers, (N, 1), one-hot or texts, and what the classes are."""
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    width = 0
    if array.ndim == 2 and _is_of(array, "iufb") and _is_one_hot(array):
        width, array = array.shape[1], array.argmax(1)
    if array.ndim != 1 or not _is_of(array, "iufbUS"):
        raise DataError(
            f"{path} has labels of shape {array.shape} and type {array.dtype}; expected one class "
            "for each row, as numbers, texts or one-hot"
        )
    if _is_of(array, "US"):
        found, numbers = np.unique(array.astype("U"), return_inverse=True)
        names = class_order(list(map(str, found)))
        places = np.array([names.index(str(name)) for name in found])
        return torch.from_numpy(places[numbers].astype(np.int64)), names, True
    if _is_of(array, "f") and not np.array_equal(array, np.round(array)):
        raise DataError(f"{path} has labels such as {array[0]}; expected whole numbers or texts")
    labels = torch.from_numpy(array.astype(np.int64))
    if int(labels.min()) < 0:
        raise DataError(f"{path} has the label {int(labels.min())}; expected class numbers from 0")
    return labels, tuple(map(str, range(max(width, int(labels.max()) + 1)))), False


def _is_one_hot(array: np.ndarray[Any, Any]) -> bool:
    return bool(np.isin(array, (0, 1)).all() and (array.sum(1) == 1).all())
