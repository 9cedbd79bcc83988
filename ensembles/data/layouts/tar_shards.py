"""Shards of WebDataset: tar files that hold images and labels of one name beside each other.

Nothing is unpacked: the files are read where they lie in the archive.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from ensembles.bounded import json_value
from ensembles.data.class_files import check_numbers, is_number
from ensembles.data.class_numbers import class_order
from ensembles.data.encoded import EXTENSIONS
from ensembles.data.layouts.image_tree import MOST_IMAGES, ImageTree, key_of
from ensembles.data.layouts.parts import choose_part
from ensembles.data.layouts.tar_members import Member, content, members
from ensembles.data.pictures import MOST_BYTES
from ensembles.data.splits import SPLIT_NAMES
from ensembles.errors import DataError

__all__ = ["SUFFIXES", "Shards", "read_shards"]

SUFFIXES = (".tar",)
_MOST_LABEL = 2**20
_LABELS = ("cls", "label", "index", "target", "class", "json")
_JSON_LABELS = ("label", "cls", "class_id", "target", "class", "y", "label_name")


@dataclass
class _Sample:
    image: Member | None = None
    labels: dict[str, Member] = field(default_factory=dict)


class Shards:
    """Images within tar files.

    Args:
        members: Where each lies.
    """

    def __init__(self, members: Sequence[Member]) -> None:
        self._members = tuple(members)

    def __len__(self) -> int:
        return len(self._members)

    def name(self, index: int) -> str:
        """The archive and the name in it."""
        member = self._members[index]
        return f"{member.shard}:{member.name}"

    def read(self, index: int) -> bytes:
        """The bytes of an image.

        Raises:
            DataError: When they cannot be read, or are too many.
        """
        return content(self._members[index], MOST_BYTES)


def read_shards(
    parts: Mapping[str, Sequence[Path]], place: Path, split: str, name: str | None = None
) -> ImageTree:
    """Images and labels of tar files, in the order of the files.

    Each image has the label of the file of its name that ends in ``.cls`` (a number or a text) or
    ``.json`` (with ``label``). Where no image has one, the folder in the archive is the class.

    Args:
        parts: The files of each split.
        place: Where they were looked for.
        split: Which split to take.
        name: The ending of the files of labels, or the name of the label in those of ``.json``; by
            default the usual ones.

    Raises:
        DataError: When a file is no plain tar file, or an image has no label, or two.
    """
    part = choose_part(split, parts, place)
    samples: dict[str, _Sample] = {}
    endings = _LABELS if name is None else (name.lower(), "json")
    ignored = 0
    for path in parts[part]:
        for member in members(path):
            key, suffix = _parted(member.name)
            sample = samples.setdefault(f"{path}\0{key}", _Sample())
            if f".{suffix.rpartition('.')[2]}" in EXTENSIONS:
                if sample.image is not None:
                    raise DataError(
                        f"{path} holds two images of the name {key!r}; expected one image and its "
                        "label under each name"
                    )
                sample.image = member
            elif suffix.partition(".")[0] in endings:
                sample.labels[suffix.partition(".")[0]] = member
            else:
                ignored += 1
            if len(samples) > MOST_IMAGES:
                raise DataError(f"{place} holds more than {MOST_IMAGES:,} images; expected fewer")
    found = [one for one in samples.values() if one.image is not None]
    images = [one.image for one in found if one.image is not None]
    if not images:
        listed = ", ".join(path.name for path in parts[part][:3])
        raise DataError(
            f"{listed} in {place} holds no images; expected images of "
            f"{', '.join(EXTENSIONS)} with labels of the same names (x.jpg, x.cls)"
        )
    told = ""
    if name is not None or any(one.labels for one in found):
        texts = [_label(one, endings, _JSON_LABELS if name is None else (name,)) for one in found]
    else:
        part, images, texts = _by_folders(images, part, place, split)
        told = "labels are the folders of the images in the archive"
    return _tree(images, texts, part, place, ignored=ignored, told=told)


def _tree(
    images: Sequence[Member],
    texts: Sequence[str],
    part: str,
    place: Path,
    *,
    ignored: int,
    told: str,
) -> ImageTree:
    numbered = all(map(is_number, texts)) and not told
    if numbered:
        labels = list(map(int, texts))
        check_numbers(labels, str(place))
        classes = tuple(map(str, range(max(labels) + 1)))
    else:
        classes = class_order(sorted(set(texts)))
        number = {name: place for place, name in enumerate(classes)}
        labels = [number[text] for text in texts]
    shards = {image.shard: None for image in images}
    key = key_of([(shard, shard) for shard in shards], labels, classes)
    return ImageTree(
        place, part, classes, Shards(images), tuple(labels), ignored, key, numbered, told
    )


def _by_folders(
    images: Sequence[Member], part: str, place: Path, split: str
) -> tuple[str, list[Member], list[str]]:
    """The images of a split, and their folders as classes."""
    tree: dict[str, list[tuple[Member, str]]] = {}
    for image in images:
        folders = PurePosixPath(image.name).parts[:-1]
        if not folders:
            raise DataError(
                f"{image.shard} has no label for {image.name}; expected a file of the same name "
                "that ends in .cls or .json, or CLASS/IMAGE in the archive"
            )
        above = folders[-2] if len(folders) > 1 else part
        above = above if above.lower() in SPLIT_NAMES else part
        tree.setdefault(above, []).append((image, folders[-1]))
    chosen = part if part in tree else choose_part(split, tree, place)
    return chosen, [image for image, _ in tree[chosen]], [name for _, name in tree[chosen]]


def _label(sample: _Sample, endings: Sequence[str], in_json: Sequence[str]) -> str:
    """The text of the label of an image."""
    image = sample.image
    assert image is not None
    name = next((name for name in endings if name in sample.labels), None)
    if name is None:
        raise DataError(
            f"{image.shard} has no label for {image.name}; expected a file of the same name that "
            f"ends in .{endings[0]} or .json"
        )
    member = sample.labels[name]
    try:
        text = content(member, _MOST_LABEL).decode()
    except UnicodeDecodeError:
        raise DataError(f"{member.shard}: the label {member.name} is no text") from None
    if name == "json":
        text = _json_label(text, member, in_json)
    text = text.strip()
    if not text or "\n" in text:
        raise DataError(
            f"{member.shard}: the label {member.name} is {text[:40]!r}; expected one number or name"
        )
    return text


def _json_label(text: str, member: Member, names: Sequence[str]) -> str:
    value: Any = json_value(text, f"{member.shard}: {member.name}", error=DataError)
    if isinstance(value, Mapping):
        found = next((value[name] for name in names if name in value), None)
    else:
        found = value
    if isinstance(found, bool) or not isinstance(found, int | str):
        raise DataError(
            f"{member.shard}: {member.name} holds no label; expected one of "
            f"{', '.join(names)} as a number or text"
        )
    return str(found)


def _parted(name: str) -> tuple[str, str]:
    """A name up to the first dot of its last part, and what follows, as WebDataset parts them."""
    folder, _, base = name.rpartition("/")
    stem, _, suffix = base.partition(".")
    return f"{folder}/{stem}", suffix.lower()
