"""Files that hold many images each, and the part of a data set that each is of."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from ensembles.data.layouts.image_tree import subfolders
from ensembles.data.splits import SPLIT_NAMES, choose_split, match_split
from ensembles.errors import DataError

__all__ = ["choose_part", "files_of", "numbered_files", "parts_of"]

_MOST_FILES = 100_000
_NUMBERS = re.compile(r"\{(?P<first>\d{1,9})\.\.(?P<last>\d{1,9})\}")


def files_of(folder: Path, suffixes: tuple[str, ...]) -> list[Path]:
    """Files with some endings in a folder, its folder ``data``, and the folders of splits there."""
    tops = [folder, *([folder / "data"] if (folder / "data").is_dir() else [])]
    homes = [
        home
        for top in tops
        for home in (top, *(top / name for name in subfolders(top) if name.lower() in SPLIT_NAMES))
    ]
    found = [
        path
        for home in homes
        for path in sorted(home.iterdir())
        if path.name.lower().endswith(suffixes) and not path.name.startswith(".")
    ]
    if len(found) > _MOST_FILES:
        raise DataError(f"{folder} holds {len(found):,} such files; expected {_MOST_FILES:,}")
    return found


def numbered_files(path: Path) -> list[Path]:
    """The files that a name with ``{000..006}`` stands for, as WebDataset writes them; else none.

    Raises:
        DataError: When they are too many, or the numbers run backwards.
    """
    match = _NUMBERS.search(str(path))
    if match is None:
        return []
    first, last = int(match["first"]), int(match["last"])
    if not first <= last < first + _MOST_FILES:
        raise DataError(
            f"{path}: the numbers {match[0]} stand for no files; expected the lower one first, and "
            f"at most {_MOST_FILES:,}"
        )
    text, width = str(path), len(match["first"])
    start, end = text[: match.start()], text[match.end() :]
    names = [Path(f"{start}{number:0{width}}{end}") for number in range(first, last + 1)]
    found = [one for name in names for one in numbered_files(name) or [name]]
    if len(found) > _MOST_FILES:
        raise DataError(f"{path} stands for {len(found):,} files; expected {_MOST_FILES:,}")
    return found


def parts_of(files: Iterable[Path], top: Path) -> dict[str, list[Path]]:
    """The files of each split, told by their folders or by a word of their names; else ``all``."""
    parts: dict[str, list[Path]] = {}
    for path in files:
        words = [*path.relative_to(top).parts[:-1], *re.split(r"[^A-Za-z]+", path.name)]
        part = next((word for word in words if word.lower() in SPLIT_NAMES), "all")
        parts.setdefault(part, []).append(path)
    return parts


def choose_part(split: str, parts: Mapping[str, Sequence[object]], place: Path) -> str:
    """The split that is meant; the whole where there are none.

    Raises:
        DataError: When there is no such split.
    """
    if set(parts) == {"all"} and (split == "all" or match_split(split, SPLIT_NAMES)):
        return "all"
    return choose_split(split, parts, str(place))
