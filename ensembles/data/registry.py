"""The data sets that are known by name."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from ensembles.data import digits
from ensembles.data.cache import data_folder

__all__ = ["SETS", "DatasetInfo", "KnownSet", "canonical_name", "known_datasets"]

_IMAGENET_ARCHIVES = {"train": "ILSVRC2012_img_train.tar", "val": "ILSVRC2012_img_val.tar"}
IMAGENET_DEVKIT = "ILSVRC2012_devkit_t12.tar.gz"


@dataclass(frozen=True)
class KnownSet:
    """What is known of a data set before it is opened.

    Attributes:
        splits: Number of images in each split.
        classes: Number of classes.
        size: Height and width that its images are given.
        loader: The class of ``torchvision.datasets`` that reads it; empty for the embedded set.
        files: For each split, the files that it is read from, in the data folder.
    """

    splits: dict[str, int]
    classes: int
    size: int
    loader: str
    files: dict[str, tuple[str, ...]]

    def paths(self, split: str, root: Path) -> tuple[Path, ...]:
        """The files that a split is read from."""
        return tuple(root / name for name in self.files[split])


@dataclass(frozen=True)
class DatasetInfo:
    """One line of the table of known data sets.

    Attributes:
        name: Its name.
        splits: Number of images in each split.
        classes: Number of classes.
        shape: Channels, height and width of its images.
        location: Where its files lie or would lie; ``embedded`` if it needs none.
        on_disk: The splits whose files are there.
        origin: How its files come: ``embedded``, ``download`` or ``by hand``.
    """

    name: str
    splits: dict[str, int]
    classes: int
    shape: tuple[int, int, int]
    location: str
    on_disk: tuple[str, ...]
    origin: str


def _mnist(folder: str) -> dict[str, tuple[str, ...]]:
    return {
        split: (
            f"{folder}/raw/{part}-images-idx3-ubyte",
            f"{folder}/raw/{part}-labels-idx1-ubyte",
        )
        for split, part in (("train", "train"), ("test", "t10k"))
    }


_CIFAR10 = "cifar-10-batches-py"
_CIFAR100 = "cifar-100-python"

SETS: dict[str, KnownSet] = {
    "digits": KnownSet(digits.SPLITS, 10, 32, "", {"train": (), "test": ()}),
    "cifar10": KnownSet(
        {"train": 50_000, "test": 10_000},
        10,
        32,
        "CIFAR10",
        {
            "train": (
                *(f"{_CIFAR10}/data_batch_{part}" for part in range(1, 6)),
                f"{_CIFAR10}/batches.meta",
            ),
            "test": (f"{_CIFAR10}/test_batch", f"{_CIFAR10}/batches.meta"),
        },
    ),
    "cifar100": KnownSet(
        {"train": 50_000, "test": 10_000},
        100,
        32,
        "CIFAR100",
        {split: (f"{_CIFAR100}/{split}", f"{_CIFAR100}/meta") for split in ("train", "test")},
    ),
    "svhn": KnownSet(
        {"train": 73_257, "test": 26_032},
        10,
        32,
        "SVHN",
        {"train": ("train_32x32.mat",), "test": ("test_32x32.mat",)},
    ),
    "mnist": KnownSet({"train": 60_000, "test": 10_000}, 10, 32, "MNIST", _mnist("MNIST")),
    "fashion-mnist": KnownSet(
        {"train": 60_000, "test": 10_000}, 10, 32, "FashionMNIST", _mnist("FashionMNIST")
    ),
    "imagenet": KnownSet(
        {"train": 1_281_167, "val": 50_000},
        1000,
        224,
        "ImageNet",
        {"train": (_IMAGENET_ARCHIVES["train"],), "val": (_IMAGENET_ARCHIVES["val"],)},
    ),
}


def canonical_name(name: str) -> str | None:
    """The registered name that is meant, whatever its case, hyphens and underscores; or None."""

    def plain(text: str) -> str:
        return text.lower().replace("-", "").replace("_", "")

    return next((known for known in SETS if plain(known) == plain(name)), None)


def imagenet_folder(root: Path) -> Path:
    """Where ImageNet lies: ``imagenet`` in the data folder if that exists, or the data folder."""
    inner = root / "imagenet"
    return inner if inner.is_dir() else root


def present(name: str, split: str, root: Path) -> bool:
    """Whether the files of a split are on disk."""
    if name == "imagenet":
        root = imagenet_folder(root)
        unpacked = (root / split).is_dir() and (root / "meta.bin").is_file()
        archives = (IMAGENET_DEVKIT, *SETS[name].files[split])
        return unpacked or all((root / file).is_file() for file in archives)
    return all(path.is_file() for path in SETS[name].paths(split, root))


def known_datasets(root: str | os.PathLike[str] | None = None) -> tuple[DatasetInfo, ...]:
    """The data sets that are known by name, and whether their files are there.

    Args:
        root: The data folder; otherwise ``$ENSEMBLES_DATA`` or the user's cache folder.

    Returns:
        One entry for each data set.
    """
    folder = data_folder(root)
    table = []
    for name, known in SETS.items():
        if not known.loader:
            location, origin = "embedded", "embedded"
        elif name == "imagenet":
            location, origin = str(imagenet_folder(folder)), "by hand"
        else:
            location, origin = str(folder), "download"
        on_disk = tuple(split for split in known.splits if present(name, split, folder))
        shape = (3, known.size, known.size)
        table.append(
            DatasetInfo(name, known.splits, known.classes, shape, location, on_disk, origin)
        )
    return tuple(table)
