"""Which commit a folder stands at, by git's files alone: no program that they name is run.

A repository that came with an archive may name programs in its configuration (a monitor of files,
filters, hooks, aliases), and ``git`` runs some of them to answer a question. Nothing of the
configuration, and no ``GIT_*`` variable, is read here.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path

from ensembles.bounded import read_bytes
from ensembles.errors import DataError

__all__ = ["git_head"]

_HASH = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")
_REFERENCE = re.compile(r"ref: (refs/[^\s\x00-\x1f~^:?*\[\\]+)")
_MOST_FOLDERS = 64
_MOST_LINKS = 5
_SMALL = 4096
_LARGE = 64 << 20
_ASSUMED, _EXTENDED, _SKIPPED, _STAGE = 0x8000, 0x4000, 0x4000, 0x3000


def git_head(folder: Path | None = None) -> str | None:
    """The commit that is checked out in a folder.

    Args:
        folder: The folder, by default the current one; the nearest one above it with a ``.git`` is
            asked.

    Returns:
        The hash of the commit. It ends in ``-dirty`` where a file that git tracks is gone, or has
        another size or time of change than git noted; contents are not compared, and what was
        added without being committed is not seen. None where there is no commit, or none that can
        be read.
    """
    try:
        found = _repository((folder or Path.cwd()).absolute())
        if found is None:
            return None
        top, own = found
        commit = _commit(own, _shared(own))
        if commit is None:
            return None
        return f"{commit}-dirty" if _changed(top, own / "index", len(commit) // 2) else commit
    except (OSError, ValueError, IndexError, DataError):
        return None


def _repository(folder: Path) -> tuple[Path, Path] | None:
    """The folder of the checked out files, and that of git's files for it."""
    for top in (folder, *folder.parents)[:_MOST_FOLDERS]:
        place = top / ".git"
        if place.is_dir():
            return top, place
        if place.is_file():  # of a further working tree or a submodule
            line = _line(place)
            if not line.startswith("gitdir: "):
                return None
            return top, top / line.removeprefix("gitdir: ")
    return None


def _shared(own: Path) -> Path:
    """Where the branches lie: a further working tree shares those of the first."""
    common = own / "commondir"
    return own / _line(common) if common.is_file() else own


def _commit(own: Path, shared: Path) -> str | None:
    line = _line(own / "HEAD")
    for _ in range(_MOST_LINKS):
        if _HASH.fullmatch(line):
            return line
        reference = _REFERENCE.fullmatch(line)
        if reference is None or ".." in reference[1]:
            return None
        places = (own / reference[1], shared / reference[1])
        there = next((place for place in places if place.is_file()), None)
        if there is None:
            return _packed(shared / "packed-refs", reference[1])
        line = _line(there)
    return None


def _packed(path: Path, reference: str) -> str | None:
    """The commit of a branch that git has moved into its one file of branches."""
    if not path.is_file():
        return None
    for line in read_bytes(path, "branches", error=DataError, most=_LARGE).decode().splitlines():
        commit, _, name = line.partition(" ")
        if name == reference and _HASH.fullmatch(commit):
            return commit
    return None


def _line(path: Path) -> str:
    return read_bytes(path, "file of git", error=DataError, most=_SMALL).decode().rstrip("\r\n")


def _changed(top: Path, index: Path, width: int) -> bool:
    """Whether a tracked file is not as git noted it; files that cannot be told of are as noted."""
    if not index.is_file():
        return False
    content = read_bytes(index, "index", error=DataError, most=_LARGE)
    return any(_differs(top, name, *noted) for name, *noted in _entries(content, width))


def _differs(top: Path, name: str, mode: int, size: int, seconds: int) -> bool:
    if not stat.S_ISREG(mode) or name.startswith("/") or ".." in name.split("/"):
        return False
    try:
        found = os.lstat(top / name)
    except OSError:
        return True
    return (found.st_size & 0xFFFFFFFF, int(found.st_mtime) & 0xFFFFFFFF) != (size, seconds)


def _entries(content: bytes, width: int) -> Iterator[tuple[str, int, int, int]]:
    """Name, mode, size and seconds of change of each entry (git, ``index-format``).

    Args:
        content: The file.
        width: Bytes of a hash.
    """
    version, number = _number(content, 4), _number(content, 8)
    if content[:4] != b"DIRC" or not 2 <= version <= 4:
        return
    place, name = 12, b""
    for _ in range(number):
        start, place = place, place + 40 + width
        seconds, mode = _number(content, start + 8), _number(content, start + 24)
        size = _number(content, start + 36)
        flags = int.from_bytes(content[place : place + 2], "big")
        place += 2
        further = 0
        if flags & _EXTENDED and version > 2:
            further = int.from_bytes(content[place : place + 2], "big")
            place += 2
        if version == 4:
            cut, place = _offset(content, place)
            name = name[: len(name) - cut]
        else:
            name = b""
        end = content.index(b"\0", place)
        name += content[place:end]
        place = end + 1
        if version < 4:  # filled up with NULs to eights
            place = start + -(-(place - start) // 8) * 8
        if not (flags & (_ASSUMED | _STAGE) or further & _SKIPPED):
            yield os.fsdecode(name), mode, size, seconds


def _offset(content: bytes, place: int) -> tuple[int, int]:
    """A number of 7 bits a byte, and the place after it (git, ``pack-format``)."""
    value = content[place] & 127
    while content[place] & 128:
        place += 1
        value = ((value + 1) << 7) | (content[place] & 127)
    return value, place + 1


def _number(content: bytes, place: int) -> int:
    return int.from_bytes(content[place : place + 4], "big")
