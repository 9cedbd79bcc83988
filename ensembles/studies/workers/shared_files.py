"""Files that appear once and whole in a folder that several machines share."""

from __future__ import annotations

import errno
import json
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from ensembles.errors import OutputError
from ensembles.files import atomic

__all__ = ["names_in", "put_json", "put_once", "read_json", "writable"]

_LARGEST = 64 * 2**20  # bytes of a JSON file that is read
_NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK)


@contextmanager
def writable(root: Path) -> Iterator[None]:
    """Tell in a line that the shared folder takes no files.

    Raises:
        OutputError: In place of an ``OSError``.
    """
    try:
        yield
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise OutputError(
            f"work folder {root}: cannot be written ({reason}); free space, or name another one "
            "with --folder"
        ) from error


def put_once(path: Path, content: bytes) -> bool:
    """Write a file unless it is there; of several writers exactly one succeeds.

    Returns:
        Whether this call wrote it.
    """
    scratch = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        with scratch.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(scratch, path)
        except FileExistsError:
            return False
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
            return _put_without_links(path, content)
        return True
    finally:
        with suppress(OSError):
            scratch.unlink(missing_ok=True)


def _put_without_links(path: Path, content: bytes) -> bool:
    """The same on disks that know no hard links; a reader may see a part of it for a moment."""
    try:
        with path.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
    except FileExistsError:
        return False
    return True


def put_json(path: Path, value: Any) -> None:
    """Write a value as JSON, in place of an older one."""
    with atomic(path) as scratch:
        scratch.write_text(json.dumps(value), encoding="utf-8")


def read_json(path: Path) -> Any:
    """A value from JSON; None where the file is not there, or not whole yet."""
    try:
        if path.stat().st_size > _LARGEST:
            return None
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None


def names_in(folder: Path) -> list[str]:
    """Names of the whole files in a folder, sorted; none where there is no folder."""
    try:
        with os.scandir(folder) as entries:
            return sorted(entry.name for entry in entries if not entry.name.startswith("."))
    except OSError:
        return []
