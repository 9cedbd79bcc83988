"""A lock with which one of several processes fills a place, and the others find it full."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

if sys.platform != "win32":
    import fcntl

__all__ = ["filled_once"]


@contextmanager
def filled_once(path: Path) -> Iterator[None]:
    """Let one process at a time fill a file or folder; what a killed process held is free.

    Whoever comes in looks first whether it was filled meanwhile. On a disk that takes no files or
    knows no locks nobody waits: what is written appears whole anyway.

    Args:
        path: What is filled; the lock lies beside it for as long as it is held.
    """
    lock = path.with_name(f".{path.name}.lock")
    held = _held(lock)
    try:
        yield
    finally:
        if held is not None:
            with suppress(OSError):
                lock.unlink()
            os.close(held)


def _held(lock: Path) -> int | None:
    """Hold a lock; None where there can be none."""
    if sys.platform == "win32":
        return None
    try:
        lock.parent.mkdir(parents=True, exist_ok=True)
        while True:
            handle = os.open(lock, os.O_RDWR | os.O_CREAT, 0o600)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX)
                if lock.exists() and os.path.samestat(os.fstat(handle), lock.stat()):
                    return handle
            except BaseException:
                os.close(handle)
                raise
            os.close(handle)  # whoever held it has removed the file meanwhile
    except OSError:
        return None
