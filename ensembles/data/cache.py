"""Decoded images kept on disk, so that a second run starts at once."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from contextlib import AbstractContextManager
from pathlib import Path

import platformdirs
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from ensembles.data.sources import MemorySource
from ensembles.files import atomic, home_expanded
from ensembles.fill_lock import filled_once

__all__ = ["cache_folder", "data_folder", "filling", "load", "save"]

_FORM = "1"
_ATTEMPTS = 10


def cache_folder() -> Path:
    """Where decoded images lie: ``$ENSEMBLES_CACHE``, or the user's cache folder."""
    named = os.environ.get("ENSEMBLES_CACHE")
    if named:
        return home_expanded(named)
    return Path(platformdirs.user_cache_dir("ensembles")) / "decoded"


def data_folder(root: str | os.PathLike[str] | None = None) -> Path:
    """Where downloaded data sets lie: ``root``, ``$ENSEMBLES_DATA``, or the user's cache folder."""
    named = root or os.environ.get("ENSEMBLES_DATA")
    if named:
        return home_expanded(named)
    return Path(platformdirs.user_cache_dir("ensembles")) / "data"


def load(slot: str, key: str) -> tuple[MemorySource, tuple[str, ...]] | None:
    """Find decoded images.

    Args:
        slot: Name of the entry.
        key: What the entry must have been made from.

    Returns:
        Images with labels, and the names of the classes; None when there is no entry, when it was
        made from something else, or when it is damaged.
    """
    path = _path(slot)
    for _ in range(_ATTEMPTS):
        before = _identity(path)
        found = _read(path, key)
        if found is not None or _identity(path) == before:
            return found
    return None


def _identity(path: Path) -> tuple[int, int] | None:
    """Which file stands at a path; safetensors opens it twice, and it may be replaced between."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_ino, status.st_mtime_ns


def _read(path: Path, key: str) -> tuple[MemorySource, tuple[str, ...]] | None:
    try:
        with safe_open(path, framework="pt") as file:
            about = file.metadata() or {}
            if about.get("key") != key or about.get("form") != _FORM:
                return None
            source = MemorySource(file.get_tensor("images"), file.get_tensor("labels"))
        if _checksum(source, about["classes"]) != about["checksum"]:
            return None
        return source, tuple(json.loads(about["classes"]))
    except (OSError, SafetensorError, KeyError, ValueError):
        return None


def filling(slot: str) -> AbstractContextManager[None]:
    """Let one process at a time make an entry; the others find it made.

    Args:
        slot: Name of the entry.
    """
    return filled_once(_path(slot))


def save(slot: str, key: str, source: MemorySource, classes: tuple[str, ...]) -> None:
    """Keep decoded images, where the disk can be written; elsewhere do without.

    The entry appears whole or not at all, also when several processes write it at once.

    Args:
        slot: Name of the entry; an older one of that name is replaced.
        key: What the entry is made from.
        source: Images and labels.
        classes: Names of the classes.
    """
    names = json.dumps(classes)
    about = {
        "form": _FORM,
        "key": key,
        "classes": names,
        "checksum": _checksum(source, names),
    }
    tensors = {"images": source.images.contiguous(), "labels": source.labels.contiguous()}
    with contextlib.suppress(OSError, SafetensorError), atomic(_path(slot)) as scratch:
        save_file(tensors, scratch, metadata=about)


def _checksum(source: MemorySource, classes: str) -> str:
    content = hashlib.sha256(classes.encode())
    for tensor in (source.images, source.labels):
        content.update(f"{tensor.dtype} {tuple(tensor.shape)}".encode())
    content.update(source.labels.contiguous().numpy().tobytes())
    content.update(source.digest)
    return content.hexdigest()


def _path(slot: str) -> Path:
    return cache_folder() / f"{slot}.safetensors"
