"""Whether a result can be written, found out before the work that makes it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from ensembles.distribution import install
from ensembles.errors import OutputError, UsageError
from ensembles.files import atomic, refusals

__all__ = ["TABLES", "check_writable"]

TABLES = (".csv", ".parquet", ".json")
"""Endings of tables."""

_HELD = {
    b"SQLite format 3\0": "a store of results",
    b"PK\x03\x04": "weights, or another archive",
    b"\x80\x02": "weights",
    b"\x89HDF": "weights or data",
}
"""What begins files that results must not replace."""


def check_writable(path: str | Path, extensions: Sequence[str] = TABLES) -> Path:
    """Find out before the work whether its result can be written.

    Args:
        path: File to be written.
        extensions: Endings that tell a known format.

    Returns:
        The path.

    Raises:
        UsageError: The ending tells no known format.
        OutputError: The folder does not exist or takes no files, the path is a folder, a device
            or a file that is protected, or Parquet's package is missing.
    """
    path = Path(path)
    if path.suffix.lower() not in extensions:
        known = ", ".join(extensions[:-1]) + " or " + extensions[-1]
        found = f"the ending {path.suffix!r}" if path.suffix else "no ending"
        raise UsageError(f"output {path}: {found} tells no known format; expected {known}")
    if path.suffix.lower() == ".parquet" and find_spec("pyarrow") is None:
        raise OutputError(
            f"output {path}: Parquet needs the package pyarrow ({install('parquet')}); "
            "or write .csv or .json"
        )
    with refusals(f"output {path}"):
        if path.is_dir():
            raise OutputError(f"output {path}: is a folder; name a file in it")
        if held := _held(path):
            raise OutputError(
                f"output {path}: holds {held}, which a result must not replace; name another file"
            )
        if path.exists() and not path.is_file():
            raise OutputError(f"output {path}: is no plain file; name one")
        if not path.parent.is_dir():
            raise OutputError(f"output {path}: there is no folder {path.parent}; make it first")
        if path.exists() and not os.access(path, os.W_OK):
            raise OutputError(f"output {path}: the file is protected against writing")
        with atomic(path, keep=False):
            pass
    return path


def _held(path: Path) -> str:
    """What else than a result a file holds; "" for nothing that is known here."""
    if not path.is_file():
        return ""
    try:
        with path.open("rb") as file:
            head = file.read(16)
    except OSError:
        return ""
    if head[8:9] == b"{" and head[4:8] == bytes(4):  # a safetensors header of less than 4 GB
        return "weights"
    return next((what for start, what in _HELD.items() if head.startswith(start)), "")
