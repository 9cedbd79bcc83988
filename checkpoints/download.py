"""Download of one file, checked before it takes its name."""

from __future__ import annotations

import hashlib
import sys
import urllib.error
import urllib.request
from http.client import HTTPException
from pathlib import Path
from typing import Any

from tqdm import tqdm

from ensembles.errors import CheckpointError
from ensembles.files import atomic
from ensembles.fill_lock import filled_once
from ensembles.printable import printable

__all__ = ["download"]

_SCHEME = "https://"
_CHUNK = 1 << 18
_TIMEOUT = 30.0
_MOST = 64 << 30
"""Bytes of a file that are waited for; an address may give them without end."""


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows no redirection that leaves https."""

    def redirect_request(self, *about: Any) -> urllib.request.Request | None:
        """The request that follows; see the base class."""
        newurl = about[-1]
        if not newurl.startswith(_SCHEME):
            raise urllib.error.URLError(f"it leads to {newurl!r}, which is no https address")
        return super().redirect_request(*about)


def _answer(url: str) -> Any:
    request = urllib.request.Request(url, headers={"User-Agent": "ensembles"})
    return urllib.request.build_opener(_Redirects).open(request, timeout=_TIMEOUT)


def download(url: str, path: Path, sha256: str, *, progress: bool = True) -> None:
    """Fetch a file; it appears under its name only when it is whole and its hash is right.

    Args:
        url: Its address, over https.
        path: Where to put it; the folder is made.
        sha256: Expected, in hexadecimal; leading digits are enough, empty if none is published.
        progress: Whether to show a bar on stderr.

    Raises:
        CheckpointError: When it cannot be fetched or is another file; the error names the folder
            where a file fetched in another way belongs.
    """
    if not url.startswith(_SCHEME):
        raise CheckpointError(f"{path.name} has no https address to be fetched from ({url!r})")
    before = path.exists()
    try:
        with filled_once(path):
            if path.is_file() and not before:  # another process has fetched it meanwhile
                return
            _fetch(url, path, sha256, path.stem if progress else None)
    except (OSError, HTTPException) as error:
        reason = getattr(error, "reason", None) or error
        raise CheckpointError(
            f"{path.name} is not in {path.parent} and cannot be downloaded ({reason}): fetch {url} "
            "by other means and put it there"
        ) from error


def _fetch(url: str, path: Path, sha256: str, title: str | None) -> None:
    with atomic(path) as scratch:
        found = _stream(url, scratch, title)
        if not found.startswith(sha256):
            raise CheckpointError(
                f"{url} gave another file: its sha256 starts with {found[:16]}, expected "
                f"{sha256[:16]}"
            )


def _stream(url: str, path: Path, title: str | None) -> str:
    """Write what an address gives to a file; its sha256. A bar is shown where it has a title."""
    digest = hashlib.sha256()
    with (
        _answer(url) as answer,
        path.open("wb") as file,
        tqdm(
            total=(length := _length(answer.headers.get("Content-Length"))),
            desc=title and printable(title, lines=False),
            unit="B",
            unit_scale=True,
            disable=title is None or sys.stderr is None,
        ) as bar,
    ):
        while chunk := answer.read(_CHUNK):
            if file.tell() + len(chunk) > _MOST:
                raise CheckpointError(f"{url} gives more than {_MOST >> 30} GiB; expected a file")
            file.write(chunk)
            digest.update(chunk)
            bar.update(len(chunk))
        if length is not None and file.tell() != length:
            raise ConnectionError(f"it ended after {file.tell():,} of {length:,} bytes")
    return digest.hexdigest()


def _length(said: str | None) -> int | None:
    """Bytes that an answer announces, if it does."""
    return int(said) if said is not None and said.isascii() and said.isdigit() else None
