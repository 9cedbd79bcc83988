"""Whether a store's folder can take more: asked before writing, so that no write stops halfway."""

from __future__ import annotations

import errno
import os
import tempfile
from contextlib import suppress
from pathlib import Path

from ensembles.errors import StoreError
from ensembles.files import followed

__all__ = ["check_room", "has_locks", "is_network_folder"]

_RESERVE = 1 << 18
_NETWORK = ("nfs", "cifs", "smb", "9p", "sshfs", "afs", "ncpfs", "glusterfs", "beegfs", "lustre")


def check_room(path: Path, size: int) -> None:
    """Refuse to write what would not fit.

    A log and the file grow side by side; with room for both, what was stored can always be taken
    over from the log, and the log be removed.

    Args:
        path: Of the store.
        size: Bytes that are to be written.

    Raises:
        StoreError: If the disk, or the largest file that the process may write, is too small.
    """
    needed = 2 * size + _RESERVE
    here = path.stat().st_size if path.exists() else 0
    room = {
        "the disk is full": _free(followed(path).parent),
        "the file-size limit is reached": _limit(here),
    }
    for reason, free in room.items():
        if free is not None and free < needed:
            raise StoreError(
                f"store {path}: cannot be written ({reason}); make room or choose another folder, "
                "what it held before is intact"
            )


def _free(folder: Path) -> int | None:
    if not hasattr(os, "statvfs"):
        return None
    with suppress(OSError):
        found = os.statvfs(folder)
        return found.f_bavail * found.f_frsize
    return None


def _limit(size: int) -> int | None:
    try:
        import resource  # noqa: PLC0415 (not on Windows)
    except ImportError:
        return None
    limit, _ = resource.getrlimit(resource.RLIMIT_FSIZE)
    return None if limit == resource.RLIM_INFINITY else limit - size


def has_locks(folder: Path) -> bool:
    """Whether the file system locks files, without which processes cannot share a store.

    SQLite cannot tell a lock that there is not from one that another process holds. A file without
    a name is locked, since closing a second handle of the store would end its locks.
    """
    try:
        import fcntl  # noqa: PLC0415 (not on Windows, whose locks always work)
    except ImportError:
        return True
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno not in (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)
    return True


def is_network_folder(folder: Path) -> bool:
    """Whether a folder lies on another machine, where processes cannot share memory."""
    best, kind = "", ""
    with suppress(OSError):
        for line in Path("/proc/mounts").read_text(encoding="utf-8").splitlines():
            place, found = line.split(" ")[1:3]
            place = place.replace("\\040", " ")
            if folder.is_relative_to(place) and len(place) >= len(best):
                best, kind = place, found
    return any(kind.removeprefix("fuse.").startswith(name) for name in _NETWORK)
