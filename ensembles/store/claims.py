"""Which process measures which lesion: a claim that ends with its process, or when it runs out."""

from __future__ import annotations

import os
import platform
import secrets
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ensembles.errors import StoreError
from ensembles.store.connection import Connection

__all__ = ["LEASE", "is_alive", "new_owner", "renewed"]

LEASE = 120.0
"""Seconds after which a claim that was not renewed counts no more."""


def new_owner() -> str:
    """A name for a claimant: the machine's processes, the process, when it began, and a number."""
    pid = os.getpid()
    return f"{_processes()} {pid} {_began(pid)} {secrets.token_hex(4)}"


def is_alive(owner: str, expires: float) -> bool:
    """Whether a claim still counts: its process lives, as far as can be told, and renewed it."""
    if expires < time.time():
        return False
    space, pid, began, _ = owner.split(" ")
    return space != _processes() or began == "?" or began == _began(int(pid))


def _processes() -> str:
    """Where a process number means the same process: machine, boot and container."""
    with suppress(OSError):
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii")[:8]
        numbers = Path("/proc/self/ns/pid").readlink()
        return f"{platform.node()}/{boot}/{numbers}".replace(" ", "")
    return f"{platform.node()}/{secrets.token_hex(4)}"


def _began(pid: int) -> str:
    """When a process began, in ticks; "?" where that cannot be told, "gone" where it has ended."""
    if not Path("/proc/self/stat").exists():
        return "?"
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return "gone"
    state, *rest = text.rpartition(")")[2].split()
    return "gone" if state in "ZX" else rest[18]


@contextmanager
def renewed(path: Path, owner: str) -> Iterator[None]:
    """Renew an owner's claims in the background for as long as the body runs."""
    ended = threading.Event()

    def renew() -> None:
        while not ended.wait(LEASE / 4):
            with suppress(StoreError):
                connection = Connection(path, write=True)
                try:
                    with connection.transaction() as raw:
                        later = (time.time() + LEASE, owner)
                        raw.execute("UPDATE claims SET expires = ? WHERE owner = ?", later)
                finally:
                    connection.close()

    thread = threading.Thread(target=renew, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
