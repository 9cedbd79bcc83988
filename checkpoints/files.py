"""Files of weights, from anywhere: read in bounded memory, and nothing in them is run."""

from __future__ import annotations

import hashlib
import io
import mmap
import os
import struct
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from ensembles.errors import CheckpointError

from .pickle_contents import read_plain, storages_of

__all__ = ["check_sha256", "file_sha256", "read_state_dict"]

_ZIP_START = b"PK\x03\x04"
_LEGACY_START = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
_LEGACY_PROTOCOL = 1001
_LARGEST_PICKLE = 64 << 20
_CHUNK = 1 << 20
_WRAPPERS = (
    *("state_dict", "model_state_dict", "model", "net", "network", "module"),
    *("weights", "params", "model_state", "net_state_dict"),
)
_PARALLEL = ("module.", "_orig_mod.")


def read_state_dict(path: str | Path) -> dict[str, Tensor]:
    """Read the tensors of a checkpoint file.

    Files of ``torch.save``, old and new, and safetensors are read, on the CPU. A state dict may be
    bare or lie under a name such as ``state_dict`` or ``model``; what parallel and compiled models
    put before the names (``module.``, ``_orig_mod.``) is taken off.

    Args:
        path: Path of the file.

    Returns:
        Tensors by name, as they are in the file.

    Raises:
        CheckpointError: When the file cannot be read, is damaged, would run code, declares more
            than it holds, or has no state dict.
    """
    path = Path(path)
    with _opened(path) as file:
        start = file.read(16)
        if start.startswith(_ZIP_START):
            _inspect_zip(file, path)
        elif start.startswith(_LEGACY_START):
            _inspect_legacy(file, path)
        elif path.suffix == ".safetensors" or start[8:9] == b"{":
            return _strip_parallel(_read_safetensors(path))
        else:
            _refuse(file, path, start)
        return _strip_parallel(_find_state_dict(_torch_load(file, path), path))


def file_sha256(path: str | Path) -> str:
    """The sha256 of a file, in hexadecimal.

    Raises:
        CheckpointError: When the file cannot be read.
    """
    digest = hashlib.sha256()
    with _opened(Path(path)) as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def check_sha256(path: str | Path, expected: str) -> str:
    """Hold a file against its published sha256.

    Args:
        path: Path of the file.
        expected: The hash in hexadecimal; leading digits are enough.

    Returns:
        The whole sha256.

    Raises:
        CheckpointError: When the file is another one, or cannot be read.
    """
    found = file_sha256(path)
    if not found.startswith(expected):
        raise CheckpointError(
            f"{path} is damaged or another file: its sha256 starts with {found[:16]}, expected "
            f"{expected[:16]}; remove it and get it again"
        )
    return found


@contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    """Open a plain file that is not empty."""
    if path.exists() and not path.is_file():
        raise CheckpointError(f"{path} is no file, expected a file of weights")
    try:
        with path.open("rb") as file:
            if not os.fstat(file.fileno()).st_size:
                raise CheckpointError(f"{path} is empty, expected a file of weights")
            yield file
    except OSError as error:
        reason = error.strerror or str(error)
        raise CheckpointError(f"checkpoint file {path} cannot be read: {reason}") from error


def _refuse(file: BinaryIO, path: Path, start: bytes) -> None:
    """Say what a file is that is none of ours, naming the code in a bare pickle."""
    try:
        with _mapped(file) as source:
            storages_of(source, str(path))
    except CheckpointError as error:
        if "would run" in str(error):
            raise
    raise CheckpointError(
        f"{path} is no file of weights: expected one of torch.save or safetensors, found one that "
        f"starts with {start[:8]!r}"
    )


@contextmanager
def _mapped(file: BinaryIO) -> Iterator[mmap.mmap]:
    with closing(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)) as source:
        yield source


def _inspect_legacy(file: BinaryIO, path: Path) -> None:
    """Refuse a file of torch before 1.6 whose pickle or sizes are not those of weights."""
    origin = str(path)
    with _mapped(file) as source:
        source.seek(len(_LEGACY_START))
        protocol = read_plain(source, origin)
        if protocol != _LEGACY_PROTOCOL:
            raise CheckpointError(f"{path} is damaged: protocol {protocol!r}, expected 1001")
        read_plain(source, origin)
        storages = storages_of(source, origin)
        keys = read_plain(source, origin)
        if not isinstance(keys, list) or sorted(map(str, keys)) != sorted(storages):
            raise CheckpointError(f"{path} is damaged: its storages are not those that it lists")
        place = source.tell()
        for key in keys:
            header = source[place : place + 8]
            place += 8 + storages[key].size
            if place > len(source):
                raise CheckpointError(
                    f"{path} is truncated: storage {key} declares {storages[key].size:,} bytes, "
                    f"the file ends {place - len(source):,} bytes before its end"
                )
            if struct.unpack("<q", header)[0] != storages[key].count:
                raise CheckpointError(f"{path} is damaged: storage {key} has two sizes")


def _inspect_zip(file: BinaryIO, path: Path) -> None:
    """Refuse an archive that is damaged, or would take more memory than its own size."""
    try:
        with zipfile.ZipFile(file) as archive:
            root = _check_entries(archive, os.fstat(file.fileno()).st_size, path)
            _check_contents(archive)
            source = io.BytesIO(archive.read(f"{root}/data.pkl"))
            sizes = {entry.filename: entry.file_size for entry in archive.infolist()}
    except CheckpointError:
        raise
    except Exception as error:  # a damaged archive can raise nearly anything
        reason = " ".join(str(error).split()) or type(error).__name__
        raise CheckpointError(f"{path} is truncated or damaged: {reason}") from error
    for storage in storages_of(source, str(path)).values():
        held = sizes.get(f"{root}/data/{storage.key}", 0)
        if held != storage.size:
            raise CheckpointError(
                f"{path} is damaged: storage {storage.key} declares {storage.size:,} bytes, the "
                f"archive holds {held:,}"
            )


def _check_entries(archive: zipfile.ZipFile, size: int, path: Path) -> str:
    """Look at the list of entries alone; the name of the folder that holds them all."""
    names = [entry.filename for entry in archive.infolist()]
    for name in names:
        if name.startswith("/") or "\\" in name or ".." in name.split("/"):
            raise CheckpointError(f"{path} is refused: its entry {name!r} leads out of the archive")
    root = names[0].partition("/")[0] if names else ""
    if f"{root}/data.pkl" not in names:
        raise CheckpointError(
            f"{path} is a zip archive of other things: expected one of torch.save, with a data.pkl"
        )
    if f"{root}/constants.pkl" in names:
        raise CheckpointError(
            f"{path} is a TorchScript archive, which holds code: load it where it was made and "
            "save its state_dict()"
        )
    if len({name.lower() for name in names}) != len(names):
        raise CheckpointError(f"{path} is refused: two of its entries have one name")
    for entry in archive.infolist():
        if entry.compress_type != zipfile.ZIP_STORED or entry.compress_size != entry.file_size:
            raise CheckpointError(
                f"{path} is refused: its entry {entry.filename!r} unpacks from "
                f"{entry.compress_size:,} to {entry.file_size:,} bytes, and torch.save never "
                "compresses"
            )
    if sum(entry.file_size for entry in archive.infolist()) > size:
        raise CheckpointError(f"{path} is refused: its entries are larger than the file")
    if archive.getinfo(f"{root}/data.pkl").file_size > _LARGEST_PICKLE:
        raise CheckpointError(f"{path} is refused: its pickle is over {_LARGEST_PICKLE:,} bytes")
    return root


def _check_contents(archive: zipfile.ZipFile) -> None:
    """Read every entry once, in pieces, so that ``zipfile`` compares the checksums."""
    for entry in archive.infolist():
        with archive.open(entry) as stream:
            while stream.read(_CHUNK):
                pass


def _torch_load(file: BinaryIO, path: Path) -> Any:
    file.seek(0)
    try:
        return torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # whatever torch finds in a file that passed the inspection
        reason = " ".join(str(error).split())[:300] or type(error).__name__
        raise CheckpointError(f"{path} cannot be read by torch: {reason}") from error


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        with safe_open(str(path), framework="pt", device="cpu") as file:
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError, RuntimeError, MemoryError) as error:
        reason = " ".join(str(error).split())
        raise CheckpointError(f"{path} is truncated or damaged: {reason}") from error


def _find_state_dict(content: Any, path: Path) -> dict[str, Tensor]:
    """The state dict in what a file holds, bare or wrapped."""
    found = _unwrap(content)
    if found is None:
        held = f"a {type(content).__name__}"
        if isinstance(content, Mapping):
            held = f"the keys {_some([str(key) for key in content])}" if content else "nothing"
        raise CheckpointError(
            f"{path} has no state dict: expected tensors by name, bare or under one of "
            f"{', '.join(_WRAPPERS[:4])}, found {held}"
        )
    for name, value in found.items():
        if not isinstance(name, str) or not isinstance(value, Tensor):
            raise CheckpointError(
                f"{path}: its state dict holds a {type(value).__name__} under {name!r}, expected "
                "tensors alone"
            )
    return dict(found)


def _unwrap(content: Any, depth: int = 3) -> Mapping[str, Any] | None:
    if not isinstance(content, Mapping) or not depth:
        return None
    for key in _WRAPPERS:
        inner = _unwrap(content.get(key), depth - 1)
        if inner is not None:
            return inner
    if any(isinstance(value, Tensor) for value in content.values()):
        return content
    inside = [inner for value in content.values() if (inner := _unwrap(value, depth - 1))]
    return inside[0] if len(inside) == 1 else None


def _strip_parallel(state: dict[str, Tensor]) -> dict[str, Tensor]:
    for prefix in _PARALLEL * 2:
        if state and all(name.startswith(prefix) for name in state):
            state = {name.removeprefix(prefix): value for name, value in state.items()}
    inner = {name.replace("._orig_mod.", "."): value for name, value in state.items()}
    return inner if len(inner) == len(state) else state


def _some(names: list[str], most: int = 5) -> str:
    rest = len(names) - most
    return ", ".join(names[:most]) + (f" and {rest} more" if rest > 0 else "")
