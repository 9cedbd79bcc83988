"""What lies in a tar file, found by its headers alone and within bounds; nothing is unpacked."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ensembles.errors import DataError

__all__ = ["Member", "content", "members"]

_BLOCK = 512
_MOST_NAME = 4096
_MOST_EXTENSION = 2**20
_FILES = (b"0", b"\0", b"7")


@dataclass(frozen=True)
class Member:
    """A plain file in an archive.

    Attributes:
        shard: The archive.
        name: Its name there.
        offset: Where its bytes begin.
        size: How many there are.
    """

    shard: str
    name: str
    offset: int
    size: int


def _without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def content(member: Member, most: int) -> bytes:
    """The bytes of a file in an archive.

    Raises:
        DataError: When they cannot be read, or are more than `most`.
    """
    if member.size > most:
        raise DataError(
            f"{member.shard}: {member.name} has {member.size:,} bytes; expected at most {most:,}"
        )
    try:
        with open(member.shard, "rb", opener=_without_waiting) as file:
            file.seek(member.offset)
            found = file.read(member.size)
    except OSError as error:
        raise DataError(f"cannot read {member.shard}: {error.strerror or error}") from error
    if len(found) != member.size:
        raise DataError(f"{member.shard} was cut while it was measured; start again")
    return found


def members(path: Path) -> Iterator[Member]:
    """The plain files of a tar file, whose headers alone are read.

    Raises:
        DataError: When it is no plain tar file, or is damaged or cut.
    """
    if not path.is_file():
        raise DataError(f"{path} is no plain file; expected a tar file")
    try:
        with path.open("rb", buffering=0) as file:
            yield from _headers(file, path)
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}") from error


def _headers(file: Any, path: Path) -> Iterator[Member]:
    total = os.fstat(file.fileno()).st_size
    place = 0
    longer: dict[str, bytes] = {}
    while place + _BLOCK <= total:
        file.seek(place)
        head = file.read(_BLOCK)
        if not any(head):
            return
        size, typed = _checked(head, place, path)
        size = int(longer.get("size", size)) if typed in _FILES else size
        start = place + _BLOCK
        if size < 0 or start + size > total:
            raise DataError(
                f"{path} is cut: what begins at byte {place:,} has {size:,} bytes, the file ends "
                f"at {total:,}"
            )
        place = start + -(-size // _BLOCK) * _BLOCK
        if typed in (b"L", b"x"):
            if size > _MOST_EXTENSION:
                raise DataError(
                    f"{path} has a header of {size:,} bytes at {start:,}; expected 1 MB"
                )
            content = file.read(size)
            new = {"path": content.rstrip(b"\0")} if typed == b"L" else _extended(content, path)
            longer = {**longer, **new}
            continue
        if typed == b"S":
            raise DataError(f"{path} holds sparse files; expected plain ones, so pack it anew")
        if typed in _FILES:
            name = longer.get("path") or _name(head)
            if len(name) > _MOST_NAME:
                raise DataError(f"{path} has a name of {len(name):,} bytes; expected {_MOST_NAME}")
            yield Member(str(path), name.decode(errors="backslashreplace"), start, size)
        if typed != b"g":
            longer = {}
    if place > total:
        raise DataError(f"{path} is cut: its last member ends at byte {place:,}, it at {total:,}")
    if place == 0:
        raise DataError(f"{path} is no tar file ({total:,} bytes); expected one with images")


def _checked(head: bytes, place: int, path: Path) -> tuple[int, bytes]:
    """Size and type of a file by a header whose checksum holds."""
    told = _number(head[148:156])
    blank = head[:148] + b" " * 8 + head[156:]
    size = _number(head[124:136])
    if told != sum(blank) or size is None:
        hint = "; it is compressed, unpack it first" if head[:2] == b"\x1f\x8b" else ""
        what = "is no tar file" if place == 0 else f"is damaged at byte {place:,}"
        raise DataError(f"{path} {what}: the checksum of a header is wrong{hint}")
    return size, head[156:157]


def _number(cell: bytes) -> int | None:
    if cell[:1] in (b"\x80", b"\xff"):
        return int.from_bytes(cell[1:], "big")
    try:
        return int(cell.rstrip(b"\0 ").strip() or b"0", 8)
    except ValueError:
        return None


def _name(head: bytes) -> bytes:
    name, prefix = head[:100].rstrip(b"\0"), head[345:500].rstrip(b"\0")
    return prefix + b"/" + name if prefix and head[257:262] == b"ustar" else name.split(b"\0")[0]


def _extended(content: bytes, path: Path) -> dict[str, bytes]:
    """Records of a pax header: their length, a blank, name=value, a line's end."""
    found: dict[str, bytes] = {}
    while content.strip(b"\0"):
        length, _, _ = content.partition(b" ")
        if not length.isdigit() or not len(length) < int(length[:9]) <= len(content):
            raise DataError(f"{path} has a damaged header of extended names")
        name, _, value = content[len(length) + 1 : int(length) - 1].partition(b"=")
        if name in (b"path", b"size"):
            if name == b"size" and not (value.isdigit() and len(value) < 19):
                raise DataError(f"{path} has a damaged header of extended names")
            found[name.decode()] = value
        content = content[int(length) :]
    return found
