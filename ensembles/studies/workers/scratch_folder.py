"""A folder of one process on the disk of its machine, and the end of those of killed processes."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ensembles.errors import OutputError

if sys.platform != "win32":
    import fcntl

__all__ = ["scratch_folder", "sweep"]

_PREFIX, _LOCK = "ensembles-part-", "lock"


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """A folder for this process alone, gone afterwards.

    Raises:
        OutputError: If the disk takes no files.
    """
    try:
        place = Path(tempfile.mkdtemp(prefix=_PREFIX))
    except OSError as error:
        raise _refused(error) from error
    held = None
    try:
        try:
            held = _lock(place)
        except OSError as error:
            raise _refused(error) from error
        yield place
    finally:
        shutil.rmtree(place, ignore_errors=True)
        if held is not None:
            os.close(held)


def sweep() -> int:
    """Remove the folders of processes of this user that were killed.

    Returns:
        How many there were.
    """
    removed = 0
    for place in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        with suppress(OSError):
            if _is_abandoned(place / _LOCK):
                shutil.rmtree(place, ignore_errors=True)
                removed += 1
    return removed


def _lock(place: Path) -> int | None:
    """Hold a folder as long as this process lives."""
    if sys.platform == "win32":  # what killed processes leave behind stays there
        return None
    fresh = place / f".{_LOCK}"
    held = os.open(fresh, os.O_RDWR | os.O_CREAT, 0o600)
    with suppress(OSError):  # a disk without locks
        fcntl.flock(held, fcntl.LOCK_EX)
        fresh.rename(place / _LOCK)  # nobody sees it before it is held
    return held


def _is_abandoned(lock: Path) -> bool:
    if sys.platform == "win32":
        return False
    handle = os.open(lock, os.O_RDWR | os.O_NOFOLLOW)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    finally:
        os.close(handle)
    return True


def _refused(error: OSError) -> OutputError:
    reason = error.strerror or type(error).__name__
    return OutputError(
        f"disk of this machine, {tempfile.gettempdir()}: cannot be written ({reason}); free space, "
        "or set TMPDIR to another folder"
    )
