"""Weights that lie in several files, as Hugging Face writes large ones, and folders of weights."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from ensembles.bounded import json_value, read_text
from ensembles.errors import CheckpointError

__all__ = ["is_index", "of_folder", "part_hint", "shards_of"]

_WHOLE = (
    *("model.safetensors.index.json", "pytorch_model.bin.index.json"),
    *("model.safetensors", "pytorch_model.bin"),
)
_PART = re.compile(r"(?P<name>.+)-\d{5}-of-(?P<parts>\d{5})(?P<suffix>\.[A-Za-z]+)")
_MOST_SHARDS = 10_000


def is_index(path: Path) -> bool:
    """Whether a file says in which others weights lie, by its name."""
    return path.name.endswith(".index.json")


def of_folder(path: Path) -> Path:
    """The file of weights in a folder as Hugging Face writes it; a file itself.

    Raises:
        CheckpointError: When there is none in the folder.
    """
    if not path.is_dir():
        return path
    found = next((path / name for name in _WHOLE if (path / name).is_file()), None)
    if found is None:
        raise CheckpointError(
            f"{path} is a folder without weights; expected a file, or a folder with one of "
            f"{', '.join(_WHOLE)}"
        )
    return found


def shards_of(index: Path) -> dict[Path, frozenset[str]]:
    """The files that an index names, in the order of their names, and the tensors of each.

    Raises:
        CheckpointError: When it is no index, or names files elsewhere.
    """
    text = read_text(index, "index of weights", error=CheckpointError)
    content = json_value(text, f"index of weights {index}", error=CheckpointError)
    places = content.get("weight_map") if isinstance(content, Mapping) else None
    if not isinstance(places, Mapping) or not places:
        raise CheckpointError(f"{index} is no index of weights: expected a weight_map of tensors")
    parts: dict[str, set[str]] = {}
    for name, file in places.items():
        if not isinstance(file, str) or Path(file).name != file or file.startswith("."):
            raise CheckpointError(
                f"{index} says that {name} lies in {str(file)[:80]!r}; expected a file beside it"
            )
        parts.setdefault(file, set()).add(str(name))
    if len(parts) > _MOST_SHARDS:
        raise CheckpointError(f"{index} names {len(parts):,} files; expected {_MOST_SHARDS:,}")
    return {index.with_name(file): frozenset(parts[file]) for file in sorted(parts)}


def part_hint(path: Path) -> str:
    """What to do with a file that is one of several parts, in words; "" for others."""
    match = _PART.fullmatch(path.name)
    if match is None:
        return ""
    index = f"{match['name']}{match['suffix']}.index.json"
    return f"; it is one of {int(match['parts'])} files: name their index, {index}, or the folder"
