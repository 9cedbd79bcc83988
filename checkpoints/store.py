"""Where checkpoints lie: in the package, in the user's store, or to be fetched."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path

import platformdirs
from torch import nn

from ensembles.cards import Card, read_card, write_card
from ensembles.errors import CheckpointError, UsageError, nearest
from ensembles.files import home_expanded
from ensembles.weights import weights_of, write_weights

from .download import download
from .files import check_sha256
from .public import PUBLIC
from .state_dicts import check_values

__all__ = [
    "Entry",
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


@dataclass(frozen=True)
class Entry:
    """A checkpoint that has a card.

    Attributes:
        card: Its card.
        place: ``"packaged"``, ``"user"`` or ``"public"``.
        path: File of its weights; that of a public one is there once it was fetched.
    """

    card: Card
    place: str
    path: Path

    @property
    def here(self) -> bool:
        """Whether the weights are on this machine."""
        return self.path.is_file()


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
    """List every checkpoint with a card: packaged, the user's, and public ones.

    Args:
        architecture: Only those of this architecture.

    Raises:
        CheckpointError: When a card cannot be read.
    """
    entries = []
    for place, folder in _folders().items():
        for path in sorted((folder / "cards").glob("*.toml")):
            entries.append(_entry(path, place, folder))
    entries += [Entry(card, "public", cache_folder() / card.file) for card in PUBLIC.values()]
    return [e for e in entries if architecture in (None, e.card.architecture)]


def lookup(name: str) -> Entry | None:
    """The checkpoint of a name, or nothing.

    Args:
        name: As its card says.

    Raises:
        CheckpointError: When its card cannot be read.
    """
    for place, folder in _folders().items():
        path = folder / "cards" / f"{name}.toml"
        if path.parent == folder / "cards" and path.is_file():
            return _entry(path, place, folder)
    if name in PUBLIC:
        return Entry(PUBLIC[name], "public", cache_folder() / PUBLIC[name].file)
    return None


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
        f"no checkpoint or file is called {name!r}{nearest(name, [*known, *PUBLIC])}"
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
    if not entry.here and entry.place == "public":
        download(entry.card.source, entry.path, entry.card.sha256, progress=progress)
    check_sha256(entry.path, entry.card.sha256)
    return entry.path


def save_checkpoint(
    model: nn.Module, card: Card, folder: str | Path | None = None, *, half: bool = False
) -> Card:
    """Write a model's weights and then its card, each all or nothing.

    Args:
        model: Its state dict is written as safetensors to ``weights`` in the folder.
        card: What is known about it; file name, size and sha256 are filled in.
        folder: The store; by default the user's.
        half: Whether floating-point tensors are written in half rather than single precision.

    Returns:
        The card as written, to ``cards`` in the folder.

    Raises:
        CheckpointError: When a weight is not finite in the precision written.
        OutputError: When the files cannot be written.
    """
    folder = user_folder() if folder is None else Path(folder)
    state = weights_of(model, half=half)
    check_values(state, f"checkpoint {card.name!r}")
    path = folder / "weights" / f"{card.name}.safetensors"
    size, sha256 = write_weights(state, path)
    card = replace(card, file=path.name, size=size, sha256=sha256)
    write_card(card, folder / "cards" / f"{card.name}.toml")
    return card


def remove(name: str) -> list[Path]:
    """Delete a checkpoint of the user's store, or the fetched file of a public one.

    Args:
        name: Name of the checkpoint.

    Returns:
        The files that were deleted.

    Raises:
        CheckpointError: When there is none of that name, or it cannot be deleted.
        UsageError: When it came with the package.
    """
    entry = find(name)
    if entry.place == "packaged":
        raise UsageError(f"checkpoint {name!r} is part of the package and stays")
    paths = [entry.path]
    if entry.place == "user":
        paths.insert(0, user_folder() / "cards" / f"{name}.toml")
    gone = [path for path in paths if path.is_file()]
    try:
        for path in gone:
            path.unlink()
    except OSError as error:
        raise CheckpointError(f"checkpoint {name!r} cannot be removed: {error}") from error
    return gone


def _folders() -> dict[str, Path]:
    return {"packaged": PACKAGED, "user": user_folder()}


def _entry(path: Path, place: str, folder: Path) -> Entry:
    card = read_card(path)
    if card.name != path.stem:
        raise CheckpointError(f"card {path} names {card.name!r}, expected {path.stem!r}")
    file = card.file or f"{card.name}.safetensors"
    return Entry(card, place, folder / "weights" / file)
