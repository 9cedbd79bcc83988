"""Files that appear whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ensembles.errors import OutputError

__all__ = ["atomic", "followed", "home_expanded", "refusals", "remove_partial"]


@contextmanager
def atomic(path: str | Path, *, keep: bool = True) -> Iterator[Path]:
    """Write a file beside its place, flush it to the disk, and move it there.

    A process that dies at any moment leaves the old file or the new one, never a part of it.
    Several may write the same file at once; the last one wins.

    Args:
        path: Where the file is to be; its folder is made, and a link is followed.
        keep: False to try only, and leave nothing.

    Yields:
        An empty file in the same folder, to write to; it is gone afterwards, whatever happens.

    Raises:
        OSError: The folder takes no files, or there is something else than a plain file, such as a
            device, which a file must not replace.
    """
    target = followed(path)
    if target.exists() and not target.is_file():
        raise OSError(errno.EINVAL, "it is no plain file", str(path))
    scratch = target.with_name(f".{target.name}.{secrets.token_hex(4)}.part")
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        scratch.touch(exist_ok=False)
        yield scratch
        if keep:
            _flush(scratch)
            scratch.replace(target)
            # Windows cannot open a folder; there the move alone has to do.
            with contextlib.suppress(OSError):
                _flush(target.parent)
    finally:
        with contextlib.suppress(OSError):
            scratch.unlink(missing_ok=True)


def home_expanded(path: str | os.PathLike[str]) -> Path:
    """The path with a leading ``~`` replaced, where there is such a user."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        return Path(path)


def remove_partial(path: str | Path) -> None:
    """Remove what killed processes left beside a file that nobody else writes now.

    Args:
        path: The file that they were writing.
    """
    target = followed(path)
    for scratch in target.parent.glob(".*.part"):
        if scratch.name.rsplit(".", 2)[0] == f".{target.name}":
            with contextlib.suppress(OSError):
                scratch.unlink(missing_ok=True)


@contextmanager
def refusals(what: str, *others: type[Exception]) -> Iterator[None]:
    """Turn a refusal of the operating system to write into one line.

    Args:
        what: What cannot be written.
        others: Errors that mean the same where it is written by a library.

    Raises:
        OutputError: In place of an ``OSError``, or of a text that UTF-8 cannot hold.
    """
    refused: tuple[type[Exception], ...] = (OSError, UnicodeEncodeError, *others)
    try:
        yield
    except refused as error:
        lines = str(getattr(error, "strerror", None) or error).splitlines()
        reason = lines[0] if lines else type(error).__name__
        raise OutputError(
            f"{what}: cannot be written ({reason}); choose another folder or free space"
        ) from error


def followed(path: str | Path) -> Path:
    """Where a file lies, links followed.

    Raises:
        OSError: If the links go in a circle, or no file can have the name.
    """
    try:
        return Path(path).resolve()
    except RuntimeError as error:  # links in a circle, before Python 3.13
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(path)) from error
    except ValueError as error:  # a NUL, or what the encoding of names lacks
        raise OSError(errno.EINVAL, "no file has such a name", str(path)) from error


def _flush(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
