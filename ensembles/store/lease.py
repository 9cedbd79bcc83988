"""Claims are kept alive for as long as work goes on."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ensembles.errors import StoreError
from ensembles.store import claims
from ensembles.store.connection import Connection

__all__ = ["renewed"]

_ENDING = 2.0
"""Seconds to wait for the background, which may be waiting for another process."""


@contextmanager
def renewed(path: Path, owner: str) -> Iterator[None]:
    """Renew an owner's claims in the background for as long as the body runs.

    Args:
        path: The store.
        owner: Who claimed.
    """
    ended = threading.Event()

    def renew() -> None:
        while not ended.wait(claims.LEASE / 4):
            with suppress(StoreError):
                connection = Connection(path, write=True, make=False)
                try:
                    with connection.transaction(patience=claims.LEASE / 4) as raw:
                        claims.renew(raw, owner)
                finally:
                    connection.close()

    thread = threading.Thread(target=renew, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join(_ENDING)
