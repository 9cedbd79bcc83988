"""The data sets that torchvision reads and downloads."""

from __future__ import annotations

import contextlib
import hashlib
import pickle
import socket
import sys
import tarfile
import zlib
from collections.abc import Iterator
from http.client import HTTPException
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ensembles.data import cache
from ensembles.data.folders import open_files
from ensembles.data.pictures import Files
from ensembles.data.pixels import Preprocessing
from ensembles.data.registry import (
    IMAGENET_DEVKIT,
    SETS,
    imagenet_folder,
    present,
)
from ensembles.data.sources import MemorySource, Source, spread
from ensembles.errors import DataError
from ensembles.fill_lock import filled_once

__all__ = ["open_imagenet", "open_known"]

_FAILURES = (
    RuntimeError,
    OSError,
    ValueError,
    AssertionError,
    EOFError,
    KeyError,
    IndexError,
    TypeError,
    AttributeError,
    pickle.UnpicklingError,
    HTTPException,
    tarfile.TarError,
    zlib.error,
)
_TIMEOUT_S = 30.0
_MOST_BYTES = 2**31
"""Bytes of the files of a data set; the largest known one has 183 MB."""


def open_known(
    name: str, split: str, root: Path, *, download: bool
) -> tuple[MemorySource, tuple[str, ...]]:
    """Open one of torchvision's small data sets, downloading it if need be.

    Args:
        name: Its registered name, not ``imagenet``.
        split: ``train`` or ``test``.
        root: The data folder.
        download: Whether files that are not there may be fetched.

    Returns:
        Images (N, 3, 32, 32) with labels, and the names of the classes.

    Raises:
        DataError: When the files are neither there nor to be had, or are damaged.
    """
    here = present(name, split, root)
    if not here and not download:
        raise DataError(
            f"{name} ({split}) is not in {root}, where {_expected(name, split)} was looked for, "
            f"and downloading is off; {_REMEDY}"
        )
    slot = f"{name}-{split}-{hashlib.sha256(str(root.resolve()).encode()).hexdigest()[:16]}"
    if here and (cached := cache.load(slot, _key(name, split, root))) is not None:
        return cached
    with filled_once(root / name):
        return _filled(name, split, root, slot, download=download)


def _filled(
    name: str, split: str, root: Path, slot: str, *, download: bool
) -> tuple[MemorySource, tuple[str, ...]]:
    """Read a data set, or fetch it, unless another process has done so meanwhile."""
    here = present(name, split, root)
    if here and (cached := cache.load(slot, _key(name, split, root))) is not None:
        return cached
    try:
        if here and (size := _bytes(name, split, root)) > _MOST_BYTES:
            raise ValueError(f"it has {size:,} bytes; expected at most {_MOST_BYTES:,}")
        with _polite_download():
            loaded = _torchvision_set(name, split, root, download=download)
        source, classes = _pixels(loaded), tuple(map(str, _classes(loaded)))
        _check_content(name, split, source)
    except _FAILURES as error:
        raise _failed(name, split, root, error, here=here) from error
    if present(name, split, root):
        cache.save(slot, _key(name, split, root), source, classes)
    return source, classes


def open_imagenet(
    split: str, root: Path, how: Preprocessing, limit: int | None
) -> tuple[Source, tuple[str, ...]]:
    """Open ImageNet (ILSVRC 2012), which cannot be downloaded.

    Args:
        split: ``train`` or ``val``.
        root: The data folder; ImageNet lies in its folder ``imagenet``, or directly in it.
        how: What is done to each image.
        limit: At most so many images, evenly spread.

    Raises:
        DataError: Naming the files that the user must put there.
    """
    folder = imagenet_folder(root)
    archives = SETS["imagenet"].files[split]
    if not present("imagenet", split, root):
        raise DataError(
            f"imagenet ({split}) is not in {folder}, and it cannot be downloaded without an "
            f"account: put {IMAGENET_DEVKIT} and {archives[0]} from image-net.org there, give an "
            f"unpacked tree {split}/CLASS/IMAGE as a folder, or {_EMBEDDED}"
        )
    try:
        with contextlib.redirect_stdout(sys.stderr):
            from torchvision.datasets import ImageNet  # noqa: PLC0415 (slow to import)

            found = ImageNet(str(folder), split=split)
    except _FAILURES as error:
        raise _failed("imagenet", split, folder, error, here=True) from error
    samples = found.samples
    if limit is not None and limit < len(samples):
        samples = [samples[index] for index in spread(len(samples), limit).tolist()]
    labels = torch.tensor([label for _, label in samples], dtype=torch.int64)
    source = open_files(Files([path for path, _ in samples]), labels, how)
    return source, tuple(names[0] for names in found.classes)


_EMBEDDED = "use the embedded data (--dataset digits), which needs no download"
_REMEDY = f"put the files there, name another folder with ENSEMBLES_DATA, or {_EMBEDDED}"


def _expected(name: str, split: str) -> str:
    return SETS[name].files[split][0]


def _key(name: str, split: str, root: Path) -> str:
    about = [
        (path.name, path.stat().st_size, path.stat().st_mtime_ns)
        for path in SETS[name].paths(split, root)
    ]
    return hashlib.sha256(repr(about).encode()).hexdigest()


def _bytes(name: str, split: str, root: Path) -> int:
    return sum(path.stat().st_size for path in SETS[name].paths(split, root))


def _torchvision_set(name: str, split: str, root: Path, *, download: bool) -> Any:
    from torchvision import datasets  # noqa: PLC0415 (slow to import)

    loader = getattr(datasets, SETS[name].loader)
    if name == "svhn":
        return loader(str(root), split=split, download=download)
    return loader(str(root), train=split == "train", download=download)


def _pixels(loaded: Any) -> MemorySource:
    labels = loaded.labels if hasattr(loaded, "labels") else loaded.targets
    pixels = torch.as_tensor(np.asarray(loaded.data))
    if pixels.ndim == 3:
        pixels = _three_channels(pixels)
    elif pixels.shape[-1] == 3:
        pixels = pixels.permute(0, 3, 1, 2)
    return MemorySource(pixels.contiguous(), torch.as_tensor(np.asarray(labels)).to(torch.int64))


def _check_content(name: str, split: str, source: MemorySource) -> None:
    """Hold what was read against what is known of a data set.

    Raises:
        ValueError: When it has other images or labels, such as a part of them.
    """
    known = SETS[name]
    images, labels = source.images, source.labels
    expected = (known.splits[split], 3, known.size, known.size)
    if tuple(images.shape) != expected or images.dtype != torch.uint8:
        raise ValueError(
            f"it holds {_sized(tuple(images.shape))} of type {str(images.dtype)[6:]}; expected "
            f"{_sized(expected)} of type uint8"
        )
    if tuple(labels.shape) != expected[:1]:
        raise ValueError(f"it holds {labels.numel():,} labels; expected {expected[0]:,}")
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or high >= known.classes:
        wrong = low if low < 0 else high
        raise ValueError(f"it holds the label {wrong}; expected 0 to {known.classes - 1}")


def _sized(shape: tuple[int, ...]) -> str:
    return f"{shape[0]:,} images of " + "x".join(map(str, shape[2:]))


def _three_channels(grey: Tensor) -> Tensor:
    """Grey images (N, 28, 28) with a margin of two black pixels, three times: (N, 3, 32, 32)."""
    padded = torch.nn.functional.pad(grey, (2, 2, 2, 2))
    return padded.unsqueeze(1).expand(-1, 3, -1, -1)


def _classes(loaded: Any) -> list[str]:
    return list(getattr(loaded, "classes", "0123456789"))


@contextlib.contextmanager
def _polite_download() -> Iterator[None]:
    """Keep torchvision's words off standard output, and let no dead connection hang."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(_TIMEOUT_S)
    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield
    finally:
        socket.setdefaulttimeout(before)


def _failed(name: str, split: str, root: Path, error: BaseException, *, here: bool) -> DataError:
    reason = " ".join(str(error).split()) or type(error).__name__
    if here:
        return DataError(
            f"{name} ({split}) in {root} is damaged or incomplete ({reason}); remove its files "
            f"there, so that they are fetched again, or {_EMBEDDED}"
        )
    return DataError(
        f"{name} ({split}) is not in {root}, where {_expected(name, split)} was looked for, and "
        f"cannot be downloaded ({reason}); {_REMEDY}"
    )
