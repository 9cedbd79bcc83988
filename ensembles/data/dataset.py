"""A data set: images, labels, and how the images are normalised."""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset

from ensembles.data.normalization import AS_GIVEN, Normalization
from ensembles.data.pixels import Preprocessing
from ensembles.data.sources import MemorySource, Source, require_rows, spread
from ensembles.data.splits import match_split
from ensembles.errors import DataError, DataWarning, UsageError

__all__ = ["ImageDataset"]


class ImageDataset(Dataset[tuple[Tensor, int]]):
    """Labelled images of one size, or other rows of one shape, in a fixed order.

    Args:
        name: Name of the data set, or its folder.
        split: The part of it, as ``train`` or ``test``; ``all`` where there are no parts.
        classes: Names of the classes; a label is an index of this.
        source: Pixels and labels.
        normalization: What is done to the pixels before a network sees them.
        preprocessing: What was done to the images to get those pixels; by default nothing.
        numbered: Whether the data hold class numbers, and the names are made of these: classes
            that do not occur may be missing at the end.
        named: Whether the data hold names of classes alone, as folders do: labels are the places
            of these names, which may be other numbers than a network's (see ``renumbered``).
        about_labels: What is to be said of how labels were found, in a line; "" for nothing.
        assumed: Whether nobody named the normalisation; that is told when images are read.
        ignored_files: How many files of a folder were passed over, as they are no images.
        opener: Opens a split of the same data set, given its name and ``normalize``; where there
            is none, the data set has no other split.

    Raises:
        DataError: When there are no images, or the normalisation is for another number of
            channels.
    """

    def __init__(
        self,
        name: str,
        split: str,
        classes: tuple[str, ...],
        source: Source,
        normalization: Normalization,
        *,
        preprocessing: Preprocessing | None = None,
        numbered: bool = False,
        named: bool = False,
        about_labels: str = "",
        assumed: bool = False,
        ignored_files: int = 0,
        opener: Callable[..., ImageDataset] | None = None,
    ) -> None:
        if len(source.labels) == 0:
            raise DataError(f"{name} ({split}) holds no images; expected at least one")
        normalization.check_channels(source.shape[0])
        self.name = name
        self.split = split
        self.classes = classes
        self.normalization = normalization
        self.preprocessing = replace(preprocessing or Preprocessing(), normalization=normalization)
        self.numbered = numbered
        self.named = named
        self.about_labels = about_labels
        self.ignored_files = ignored_files
        self._source = source
        self._assumed = assumed
        self._opener = opener

    def __repr__(self) -> str:
        size = "x".join(map(str, self.shape))
        noun = "rows" if self.normalization == AS_GIVEN else "images"
        return (
            f"ImageDataset({self.name!r}, {self.split!r}, {len(self):,} {noun} of {size}, "
            f"{len(self.classes)} classes, normalised by {self.normalization})"
        )

    @property
    def shape(self) -> tuple[int, ...]:
        """Channels, height and width of every image; of other rows their shape."""
        return self._source.shape

    @property
    def labels(self) -> Tensor:
        """The class number of every image: int64, (N,)."""
        return self._source.labels

    def __len__(self) -> int:
        return len(self._source.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        """One image.

        Args:
            index: Its number, from 0; a negative one counts from the end.

        Returns:
            The normalised image, float32 (C, H, W), and its label.
        """
        if not -len(self) <= index < len(self):
            raise IndexError(f"image {index} of {len(self)}")
        index %= len(self)
        self._tell_of_normalization()
        image = self.normalization(self._source.read(index, index + 1))[0]
        return image, int(self._source.labels[index])

    def __iter__(self) -> Iterator[tuple[Tensor, int]]:
        return (self[index] for index in range(len(self)))

    def batches(self, batch_size: int, *, start: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
        """The images in their fixed order, each once.

        Args:
            batch_size: Images in a batch; the last batch may be smaller.
            start: Number of the first image, so that a reader can go on with another batch size.

        Returns:
            Pairs of normalised images, float32 (N, C, H, W), and labels, int64 (N,).

        Raises:
            UsageError: When ``batch_size`` is below 1 or ``start`` below 0.
            DataError: When an image file turns out to be damaged, while it is read.

        Warns:
            DataWarning: When nobody named the normalisation, once.
        """
        if batch_size < 1 or start < 0:
            raise UsageError(
                f"batch size {batch_size} from image {start}; expected a batch size of at least 1 "
                "and a start of at least 0"
            )
        self._tell_of_normalization()
        bounds = [
            (first, min(first + batch_size, len(self)))
            for first in range(start, len(self), batch_size)
        ]
        return (
            (self.normalization(images), self._source.labels[first:last])
            for (first, last), images in zip(bounds, self._source.stream(bounds), strict=True)
        )

    def raw(self) -> tuple[Tensor, Tensor]:
        """All pixels and labels.

        Returns:
            uint8 (N, C, H, W) and int64 (N,); not copies, so do not write into them.

        Raises:
            DataError: When the images are too many or too large to lie in memory.
        """
        if not isinstance(self._source, MemorySource):
            size = "x".join(map(str, self.shape))
            raise DataError(
                f"{self.name} ({self.split}) is read from its files, as {len(self):,} images of "
                f"{size} do not lie in memory; use batches(), a limit or a smaller image size"
            )
        return self._source.images, self._source.labels

    @cached_property
    def content_hash(self) -> str:
        """sha256 (hexadecimal) over pixels, labels and classes, in order.

        Of images that are not held in memory, the bytes of their files and what is done to the
        images (but for normalisation) stand for the pixels.
        """
        about = json.dumps({"classes": self.classes, "shape": self.shape, "images": len(self)})
        content = hashlib.sha256(about.encode())
        content.update(self._source.labels.contiguous().numpy().astype("<i8").tobytes())
        content.update(self._source.digest)
        return content.hexdigest()

    def with_normalization(self, normalization: Normalization | str) -> ImageDataset:
        """The same images, normalised in another way.

        Args:
            normalization: A normalisation, or its name or numbers.

        Raises:
            UsageError: When the text is no normalisation.
            DataError: When it is for another number of channels, or the rows are no images.
        """
        if self.normalization == AS_GIVEN:
            raise DataError(
                f"{self.name} holds rows that are taken as they are, and are not normalised; "
                "expected images of 8 bits"
            )
        other = self._with(self._source, Normalization.parse(normalization))
        other._assumed = False
        return other

    def limited(self, count: int) -> ImageDataset:
        """A fixed, evenly spread part: the images floor(i * N / count), in their order.

        So every class of a folder, where the images are sorted by class, keeps its share.

        Args:
            count: How many images to keep; all of them if there are not more.

        Raises:
            UsageError: When ``count`` is below 1.
        """
        check_limit(count)
        if count >= len(self):
            return self
        return self._with(self._source.take(spread(len(self), count)), self.normalization)

    def taken(self, rows: Sequence[int]) -> ImageDataset:
        """Some of the images, in the order in which they are named.

        Args:
            rows: Their numbers, from 0.

        Raises:
            UsageError: When there is no such image, or none is named.
        """
        require_rows(rows, len(self), "image", self.name)
        return self._with(self._source.take(torch.tensor(rows)), self.normalization)

    def of_split(self, split: str) -> ImageDataset:
        """Another split of the same data set, whole, of the same size and normalised alike.

        Args:
            split: As for ``ensembles.dataset``, but no split stands in for another one.

        Raises:
            DataError: When there is no such split, its images are of another size, or the data set
                was made from images in memory.
        """
        if self._opener is None:
            raise DataError(
                f"{self.name} ({self.split}) was made from images in memory, and has no split "
                f"{split!r}; give those data themselves"
            )
        other = self._opener(split, normalize=self.normalization)
        if match_split(split, (other.split,), stand_ins=False) is None:
            raise DataError(
                f"{self.name} has no split {split!r}, only {other.split}; give those data "
                "themselves"
            )
        if other.shape != self.shape:
            raise DataError(
                f"the images of {self.name} ({other.split}) have shape {other.shape}, those of "
                f"{self.split} {self.shape}; open it with an image size"
            )
        return other

    def renumbered(self, number_of: Mapping[str, int], classes: tuple[str, ...]) -> ImageDataset:
        """The same images with other class numbers; other splits are numbered likewise.

        Args:
            number_of: The number of each of the classes.
            classes: Names by number.

        Raises:
            DataError: When a class that has images has no number.
        """
        lacking = [
            name
            for label in sorted(set(self.labels.tolist()))
            if (name := self.classes[label]) not in number_of
        ]
        if lacking:
            raise DataError(
                f"{self.name} ({self.split}) has images of {lacking[0]!r}, whose class number "
                f"nobody says; known are {', '.join(list(number_of)[:3])}"
            )
        numbers = torch.tensor([number_of.get(name, -1) for name in self.classes])
        own = self._opener

        def opener(split: str, **options: Any) -> ImageDataset:
            assert own is not None
            return own(split, **options).renumbered(number_of, classes)

        return ImageDataset(
            self.name,
            self.split,
            classes,
            self._source.relabelled(numbers[self.labels]),
            self.normalization,
            preprocessing=self.preprocessing,
            numbered=True,
            assumed=self._assumed,
            ignored_files=self.ignored_files,
            opener=None if own is None else opener,
        )

    def _with(self, source: Source, normalization: Normalization) -> ImageDataset:
        return ImageDataset(
            self.name,
            self.split,
            self.classes,
            source,
            normalization,
            preprocessing=self.preprocessing,
            numbered=self.numbered,
            named=self.named,
            about_labels=self.about_labels,
            assumed=self._assumed,
            ignored_files=self.ignored_files,
            opener=self._opener,
        )

    def _tell_of_normalization(self) -> None:
        """Say once that nobody named the normalisation."""
        if self._assumed:
            self._assumed = False
            warnings.warn(
                f"no normalisation of {self.name} is known, so that its pixels are given from 0 to "
                "1; name the one that the network was trained with, as normalize='imagenet', or "
                "'none' for these",
                DataWarning,
                stacklevel=3,
            )


def check_limit(count: int | None) -> None:
    """Refuse a limit below one image."""
    if count is not None and count < 1:
        raise UsageError(f"a limit of {count} images; expected at least 1")
