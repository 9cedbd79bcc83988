"""Files of weights, from anywhere: opened once, held, and hashed as they are measured."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from torch import Tensor

from ensembles.errors import CheckpointError

from .file_formats import Held, contents_of
from .pickle_contents import Described
from .shards import is_index, shards_of
from .tensor_sets import TensorSets, sets_of

__all__ = [
    "CheckpointWarning",
    "WeightFile",
    "check_sha256",
    "file_sha256",
    "open_weights",
    "read_state_dict",
]

_CHUNK = 1 << 20
_WRAPPERS = (
    *("state_dict", "model_state_dict", "model", "net", "network", "module"),
    *("weights", "params", "model_state", "net_state_dict"),
)
_BESIDE = (
    *("optimizer", "optimizers", "optimizer_states", "optimizer_state_dict", "opt", "optim"),
    *("lr_scheduler", "lr_schedulers", "scheduler", "amp_scaler", "scaler", "callbacks", "loops"),
    *("hyper_parameters", "hparams", "args", "config", "cfg", "meta"),
)
_PARALLEL = ("module.", "_orig_mod.")


class CheckpointWarning(UserWarning):
    """Something about weights that a reader of their results has to know."""


@dataclass(frozen=True)
class WeightFile:
    """A file of weights as it was when it was opened.

    Attributes:
        path: Where it lies.
        size: Its bytes.
        sha256: Their hash, in hexadecimal: of the bytes that the tensors are made of.
        sets: Its tensors by name, for each place in it that holds some.
        foreign: Classes of the objects in it that were left unread.
        held: What the file holds at its top, for messages.
    """

    path: Path
    size: int
    sha256: str
    sets: TensorSets
    foreign: tuple[str, ...] = ()
    held: str = field(default="", repr=False)

    def state_dict(self) -> dict[str, Tensor]:
        """The one state dict of the file, bare or under a usual name.

        Raises:
            CheckpointError: When there is none, or several and no name tells which is meant.
        """
        place = _chosen_place(self.sets)
        if place is None:
            raise CheckpointError(
                f"{self.path} has no state dict: expected tensors by name, bare or under one of "
                f"{', '.join(_WRAPPERS[:4])}, found {self.held}"
            )
        return _strip_parallel(self.sets[place])


def open_weights(path: str | Path, expected: str = "") -> WeightFile:
    """Open a file of weights once, and read, hash and check what was in it then.

    Files of ``torch.save``, of all ages, plain pickles and safetensors are read, on the CPU; those
    of an index (``model.safetensors.index.json``) together, whose hash is that of all theirs.
    Objects of other classes become stand-ins: nothing is imported, and nothing in the file is run.

    Args:
        path: Path of the file.
        expected: Its sha256 in hexadecimal, if it is known; leading digits are enough.

    Raises:
        CheckpointError: When the file cannot be read, is another one, is damaged, would run code,
            or declares more than it holds.
    """
    path = Path(path)
    if is_index(path):
        return _together(path, expected)
    held = _held(path)
    found = hashlib.sha256(held).hexdigest()
    _compare(path, found, expected)
    content = contents_of(held, str(path), safetensors=path.suffix == ".safetensors")
    try:
        sets, foreign = sets_of(content)
    except CheckpointError as error:
        raise CheckpointError(f"{path} is damaged: {error}") from error
    return WeightFile(path, len(held), found, sets, tuple(foreign), _told(content, foreign))


def _together(index: Path, expected: str) -> WeightFile:
    """The files that an index names, as one."""
    named = shards_of(index)
    files = [open_weights(path) for path in named]
    state: dict[str, Tensor] = {}
    for file, names in zip(files, named.values(), strict=True):
        own = file.sets.get("", {})
        lacking = sorted(names - own.keys())
        if lacking:
            raise CheckpointError(
                f"{index} says that {lacking[0]} lies in {file.path.name}, and it does not: get "
                "both again"
            )
        state |= {name: own[name] for name in own if name in names}
    digest = hashlib.sha256(" ".join(file.sha256 for file in files).encode()).hexdigest()
    _compare(index, digest, expected)
    size = sum(file.size for file in files)
    foreign = tuple(dict.fromkeys(name for file in files for name in file.foreign))
    return WeightFile(index, size, digest, {"": state}, foreign, _told(state, []))


def read_state_dict(path: str | Path) -> dict[str, Tensor]:
    """Read the tensors of a checkpoint file.

    As :func:`open_weights`. A state dict may be bare or lie under a name such as ``state_dict`` or
    ``model``; what parallel and compiled models put before the names (``module.``, ``_orig_mod.``)
    is taken off.

    Args:
        path: Path of the file.

    Returns:
        Tensors by name, as they are in the file.

    Raises:
        CheckpointError: When the file cannot be read, is damaged, would run code, declares more
            than it holds, or has no state dict.
    """
    return open_weights(path).state_dict()


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
    _compare(Path(path), found, expected)
    return found


def _compare(path: Path, found: str, expected: str) -> None:
    if not found.startswith(expected):
        raise CheckpointError(
            f"{path} is damaged or another file: its sha256 starts with {found[:16]}, expected "
            f"{expected[:16]}; remove it and get it again"
        )


@contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    """Open a plain file that is not empty."""
    if path.exists() and not path.is_file():
        raise CheckpointError(f"{path} is no file, expected a file of weights")
    try:
        with path.open("rb") as file:
            about = os.fstat(file.fileno())
            if not stat.S_ISREG(about.st_mode):
                raise CheckpointError(f"{path} is no file, expected a file of weights")
            if not about.st_size:
                raise CheckpointError(f"{path} is empty, expected a file of weights")
            yield file
    except (OSError, ValueError) as error:  # a ValueError where the name holds a NUL
        reason = getattr(error, "strerror", None) or str(error)
        raise CheckpointError(f"checkpoint file {path} cannot be read: {reason}") from error


def _held(path: Path) -> Held:
    """The bytes of a file, in memory of our own."""
    with _opened(path) as file:
        size = os.fstat(file.fileno()).st_size
        most = _memory()
        if size > most:
            raise CheckpointError(
                f"{path} has {size:,} bytes, and this machine {most:,} bytes of memory: read it on "
                "a larger one, or save the weights alone"
            )
        try:
            held = Held(-1, size)
        except (OSError, MemoryError, OverflowError) as error:
            raise CheckpointError(f"memory ran out for the {size:,} bytes of {path}") from error
        view, place = memoryview(held), 0
        while place < size and (count := file.readinto(view[place : place + _CHUNK])):  # type: ignore[attr-defined]
            place += count
        if place < size or file.read(1):
            raise CheckpointError(
                f"{path} was written to while it was read: wait until it is whole, and read it "
                "again"
            )
    return held


def _memory() -> int:
    """Bytes of memory of this machine, as far as it tells."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return 1 << 40


def _chosen_place(sets: Mapping[str, Mapping[str, Tensor]]) -> str | None:
    """The place of the state dict that is meant where no model says which names are expected."""
    by_name = [
        place for place in sets if place and all(part in _WRAPPERS for part in place.split("."))
    ]
    if by_name:
        return min(by_name, key=lambda place: [*map(_WRAPPERS.index, place.split("."))])
    if "" in sets:
        return ""
    others = [place for place in sets if place.split(".")[0] not in _BESIDE]
    return others[0] if len(others) == 1 else None


def _strip_parallel(state: dict[str, Tensor]) -> dict[str, Tensor]:
    for prefix in _PARALLEL * 2:
        if state and all(name.startswith(prefix) for name in state):
            state = {name.removeprefix(prefix): value for name, value in state.items()}
    inner = {name.replace("._orig_mod.", "."): value for name, value in state.items()}
    return inner if len(inner) == len(state) else state


def _told(content: Any, foreign: list[str]) -> str:
    """What a file holds at its top, in words."""
    if isinstance(content, Mapping):
        return f"the keys {_some([str(key) for key in content])}" if content else "nothing"
    if foreign:
        return f"an object of {foreign[0]}"
    return "a Tensor" if isinstance(content, Described) else f"a {type(content).__name__}"


def _some(names: list[str], most: int = 5) -> str:
    rest = len(names) - most
    return ", ".join(names[:most]) + (f" and {rest} more" if rest > 0 else "")
