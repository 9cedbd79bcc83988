"""Files that appear whole or not at all."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import IO

from ensembles.errors import OutputError

__all__ = ["write_atomically"]


def write_atomically(path: Path, write: Callable[[IO[bytes]], object]) -> None:
    """Write a file beside its place, flush it to the disk, and move it there.

    A process that dies at any moment leaves the old file or the new one, never a part of it. The
    file beside it has a fixed name, so that what a killed process left is replaced by the next.

    Args:
        path: Where the file belongs; its folder must exist. One process at a time may write it.
        write: Writes the content into an open binary file.

    Raises:
        OutputError: When the file cannot be written.
    """
    partial = path.with_name(f".{path.name}.part")
    try:
        with partial.open("wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
        _sync_folder(path.parent)
    except (OSError, RuntimeError) as error:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)
        reason = getattr(error, "strerror", None) or str(error).splitlines()[0]
        raise OutputError(
            f"cannot write {path}: {reason}; choose another folder or free space"
        ) from error


def _sync_folder(folder: Path) -> None:
    # Windows cannot open a folder; there the move alone has to do.
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
