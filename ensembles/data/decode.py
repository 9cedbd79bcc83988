"""From image files to arrays of pixels, many at a time."""

from __future__ import annotations

import contextlib
import os
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from ensembles.data.encoded import MOST_PIXELS, opened, too_large, unreadable
from ensembles.data.pictures import Pictures
from ensembles.errors import DataError, UsageError

__all__ = [
    "ImageSize",
    "check_image_size",
    "decode",
    "different_sizes",
    "output_size",
    "workers",
]


ImageSize = int | tuple[int, int] | None
"""``crop``, or ``(resize, crop)``: the shorter side becomes ``resize``, then a square is cut."""

_CHUNK = 64
_LARGE = 2**24
_ONE_LARGE = threading.Lock()
"""Images of more than 16 million pixels are decoded one after the other, for memory's sake."""


def workers() -> int:
    """How many threads decode at once: the cores that this process may use, at most eight."""
    affinity = getattr(os, "sched_getaffinity", None)
    return min(8, len(affinity(0)) if affinity else os.cpu_count() or 1)


def check_image_size(size: ImageSize) -> tuple[int, int] | None:
    """Bring an image size to the form (resize, crop).

    Args:
        size: Side of the square in pixels, or (shorter side after resizing, side of the square).

    Returns:
        (resize, crop), or None for images taken as they are.

    Raises:
        UsageError: When a side is below 1, or the crop is larger than the resized image.
    """
    if size is None:
        return None
    resize, crop = (size, size) if isinstance(size, int) else size
    if crop < 1 or resize < crop:
        raise UsageError(
            f"image size {size} cannot be cut; expected a side of at least 1 pixel, or "
            "(resize, crop) with resize not below crop"
        )
    return resize, crop


def output_size(pictures: Pictures, index: int, size: tuple[int, int] | None) -> tuple[int, int]:
    """Height and width that an image will have, read from its header only.

    Args:
        pictures: The encoded images.
        index: Which of them.
        size: (resize, crop), or None for images taken as they are.

    Raises:
        DataError: When it is no readable image.
    """
    if size is not None:
        return size[1], size[1]
    with opened(pictures.read(index), pictures.name(index)) as image:
        return image.height, image.width


def decode(
    pictures: Pictures,
    size: tuple[int, int] | None,
    expected: tuple[int, int],
    *,
    reference: str,
    progress: str | None = None,
) -> Tensor:
    """Decode images to one tensor, with several threads and in the order given.

    Args:
        pictures: The encoded images.
        size: (resize, crop), or None for images taken as they are.
        expected: Height and width that every image must have afterwards.
        reference: The image that ``expected`` was read from, for the error message.
        progress: Title of a progress bar on standard error, or None for no bar.

    Returns:
        uint8 tensor (N, 3, H, W).

    Raises:
        DataError: Naming the first image in order that is damaged, of another size, larger than
            80 million pixels, or of more than 8 bits a channel.
    """
    pixels = np.empty((len(pictures), 3, *expected), dtype=np.uint8)
    threads = workers()
    chunk = min(_CHUNK, -(-len(pictures) // (4 * threads)))

    def work(start: int) -> int:
        stop = min(start + chunk, len(pictures))
        for index in range(start, stop):
            image = _read(pictures, index, size)
            if image.shape[:2] != expected:
                found = (image.shape[0], image.shape[1])
                raise different_sizes(reference, expected, pictures.name(index), found)
            pixels[index] = image.transpose(2, 0, 1)
        return stop - start

    bar = tqdm(
        total=len(pictures),
        desc=progress,
        unit="image",
        delay=1,
        leave=False,
        disable=None if progress else True,
    )
    with bar, ThreadPoolExecutor(threads) as pool:
        for done in pool.map(work, range(0, len(pictures), chunk)):
            bar.update(done)
    return torch.from_numpy(pixels)


def _read(pictures: Pictures, index: int, size: tuple[int, int] | None) -> NDArray[np.uint8]:
    """One image as an array (H, W, 3)."""
    content, name = pictures.read(index), pictures.name(index)
    with opened(content, name) as file:
        after = _resized(file.width, file.height, size)
        if after[0] * after[1] > MOST_PIXELS:
            raise too_large(name, (file.width, file.height), after)
        large = max(file.width * file.height, after[0] * after[1]) > _LARGE
        with _ONE_LARGE if large else contextlib.nullcontext(), unreadable(name, len(content)):
            # Straight to RGB, Pillow warns of palettes with transparency; the colours are the same.
            image = (file.convert("RGBA") if file.mode == "P" else file).convert("RGB")
            if size is not None:
                from torchvision.transforms.v2 import functional  # noqa: PLC0415 (slow to import)

                resize, crop = size
                image = functional.resize(image, [resize], antialias=True)
                image = functional.center_crop(image, [crop, crop])
            return np.asarray(image, dtype=np.uint8)


def _resized(width: int, height: int, size: tuple[int, int] | None) -> tuple[int, int]:
    """Width and height of an image once its shorter side is resized."""
    if size is None:
        return width, height
    scale = size[0] / min(width, height)
    return int(width * scale), int(height * scale)


def different_sizes(
    first: str, first_size: tuple[int, int], second: str, second_size: tuple[int, int]
) -> DataError:
    """The error for two images that do not go into one batch; sizes are (height, width)."""
    return DataError(
        f"images differ in size: {first} has {first_size[1]}x{first_size[0]} pixels, {second} has "
        f"{second_size[1]}x{second_size[0]}; make them equal, or give an image size to resize and "
        "crop to"
    )
