"""The table of claims: which process measures which lesion.

A claim ends with its process, or when it runs out.
"""

from __future__ import annotations

import os
import platform
import secrets
import sqlite3
import time
from collections import Counter
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ensembles.store.seals import DamageError

if TYPE_CHECKING:
    from ensembles.store.connection import Connection

__all__ = [
    "LEASE",
    "TABLES",
    "Watch",
    "check_claims",
    "claims_by_context",
    "deserted",
    "drop_claim",
    "new_owner",
    "release",
    "renew",
    "try_claim",
]

TABLES = (
    """
CREATE TABLE claims (              -- lesions that a process is measuring now
    lesion INTEGER PRIMARY KEY REFERENCES lesions,
    owner TEXT NOT NULL,
    expires REAL NOT NULL          -- seconds since the epoch
)""",
    "CREATE INDEX claims_of_owner ON claims (owner)",
)

LEASE = 120.0
"""Seconds after which a claim that was not renewed counts no more."""


def claims_by_context(connection: Connection) -> Counter[int]:
    """How many lesions of each context are being measured."""
    rows = connection.rows("SELECT context, owner, expires FROM claims JOIN lesions ON id = lesion")
    return Counter(number for number, owner, expires in rows if _is_alive(owner, expires))


def deserted(connection: Connection, context: int) -> int:
    """How many lesions of a context are claimed by processes that live no more."""
    rows = connection.rows(
        "SELECT owner, expires FROM claims JOIN lesions ON id = lesion WHERE context = ?",
        (context,),
    )
    return sum(not _is_alive(owner, expires) for owner, expires in rows)


def check_claims(rows: Iterable[tuple[Any, ...]]) -> None:
    """Hold rows of the table against their types.

    Raises:
        DamageError: If one has others.
    """
    for row in rows:
        if [*map(type, row)] != [int, str, float]:
            raise DamageError(
                f"a claim on lesion {str(row[0])[:20]} is not as the program writes it"
            )


class Watch:
    """Tells which claims are renewed, by a clock of this process.

    When a claim runs out is written by the clock of whoever made it, which may lie far ahead of
    this one. One that stays as it is for as long as a claim lasts counts no more, whatever it says.
    """

    def __init__(self) -> None:
        self._seen: dict[int, tuple[str, float, float]] = {}

    def counts(self, lesion: int, owner: str, expires: float) -> bool:
        """Whether a claim counts."""
        if not _is_alive(owner, expires):
            return False
        known = self._seen.get(lesion)
        if known is None or known[:2] != (owner, expires):
            self._seen[lesion] = owner, expires, time.monotonic()
            return True
        return time.monotonic() - known[2] < LEASE


def try_claim(raw: sqlite3.Connection, lesion: int, owner: str, watch: Watch) -> bool:
    """Claim a lesion, unless another process is measuring it.

    Args:
        raw: In a transaction.
        lesion: Number of the lesion.
        owner: Who claims it.
        watch: Tells whether a claim of another one counts.
    """
    sql = "SELECT owner, expires FROM claims WHERE lesion = ?"
    found = raw.execute(sql, (lesion,)).fetchone()
    if found and found[0] != owner and watch.counts(lesion, *found):
        return False
    values = (lesion, owner, time.time() + LEASE)
    raw.execute("INSERT OR REPLACE INTO claims VALUES (?, ?, ?)", values)
    return True


def renew(raw: sqlite3.Connection, owner: str) -> None:
    """Let the claims of an owner run from now."""
    raw.execute("UPDATE claims SET expires = ? WHERE owner = ?", (time.time() + LEASE, owner))


def release(raw: sqlite3.Connection, lesions: Iterable[int], owner: str) -> None:
    """Let go of lesions that an owner has claimed."""
    sql = "DELETE FROM claims WHERE lesion = ? AND owner = ?"
    raw.executemany(sql, ((lesion, owner) for lesion in lesions))


def drop_claim(raw: sqlite3.Connection, lesion: int) -> None:
    """Lift the claim on a lesion that was measured or has failed, whoever made it."""
    raw.execute("DELETE FROM claims WHERE lesion = ?", (lesion,))


def new_owner() -> str:
    """A name for a claimant: the machine's processes, the process, when it began, and a number."""
    pid = os.getpid()
    return f"{_processes()} {pid} {_began(pid)} {secrets.token_hex(4)}"


def _is_alive(owner: str, expires: float) -> bool:
    """Whether a claim still counts: its process lives, as far as can be told, and renewed it."""
    if not expires >= time.time():
        return False
    parts = owner.split(" ")
    if len(parts) != 4 or not parts[1].isdecimal():
        return True
    space, pid, began, _ = parts
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
