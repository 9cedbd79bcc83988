"""From image files to arrays of pixels, many at a time."""

from __future__ import annotations

import contextlib
import os
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from ensembles.data.encoded import MOST_PIXELS, opened, too_large, unreadable
from ensembles.data.pictures import Pictures
from ensembles.data.pixels import Preprocessing
from ensembles.errors import DataError

__all__ = [
    "decode",
    "different_sizes",
    "output_size",
    "prepared",
    "workers",
]


_CHUNK = 64
_LARGE = 2**24
_ONE_LARGE = threading.Lock()
"""Images of more than 16 million pixels are decoded one after the other, for memory's sake."""


def workers() -> int:
    """How many threads decode at once: the cores that this process may use, at most eight."""
    affinity = getattr(os, "sched_getaffinity", None)
    return min(8, len(affinity(0)) if affinity else os.cpu_count() or 1)


def output_size(pictures: Pictures, index: int, how: Preprocessing) -> tuple[int, int]:
    """Height and width that an image will have, read from its header only.

    Args:
        pictures: The encoded images.
        index: Which of them.
        how: What is done to it.

    Raises:
        DataError: When it is no readable image.
    """
    if how.size is not None:
        return how.size
    with opened(pictures.read(index), pictures.name(index)) as image:
        return how.size_of(image.height, image.width)


def decode(
    pictures: Pictures,
    how: Preprocessing,
    expected: tuple[int, int],
    *,
    reference: str,
    progress: str | None = None,
) -> Tensor:
    """Decode images to one tensor, with several threads and in the order given.

    Args:
        pictures: The encoded images.
        how: What is done to each.
        expected: Height and width that every image must have afterwards.
        reference: The image that ``expected`` was read from, for the error message.
        progress: Title of a progress bar on standard error, or None for no bar.

    Returns:
        uint8 tensor (N, C, H, W).

    Raises:
        DataError: Naming the first image in order that is damaged, of another size, larger than
            80 million pixels, or of more than 8 bits a channel.
    """
    pixels = np.empty((len(pictures), how.channels, *expected), dtype=np.uint8)
    threads = workers()
    chunk = min(_CHUNK, -(-len(pictures) // (4 * threads)))

    def work(start: int) -> int:
        stop = min(start + chunk, len(pictures))
        for index in range(start, stop):
            image = _read(pictures, index, how)
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


def _read(pictures: Pictures, index: int, how: Preprocessing) -> NDArray[np.uint8]:
    """One image as an array (H, W, C)."""
    content, name = pictures.read(index), pictures.name(index)
    with opened(content, name) as file:
        height, width = how.resized_size(file.height, file.width)
        if height * width > MOST_PIXELS:
            raise too_large(name, (file.width, file.height), (width, height))
        large = max(file.height * file.width, height * width) > _LARGE
        with _ONE_LARGE if large else contextlib.nullcontext(), unreadable(name, len(content)):
            # Straight to RGB, Pillow warns of palettes with transparency; the colours are the same.
            image = (file.convert("RGBA") if file.mode == "P" else file).convert("RGB")
            return prepared(image, how)


def prepared(image: Image.Image, how: Preprocessing) -> NDArray[np.uint8]:
    """An image of the mode RGB as an array (H, W, C), its channels in their order."""
    pixels = np.atleast_3d(np.asarray(how.apply(image), dtype=np.uint8))
    return pixels[..., ::-1] if how.colours == "bgr" else pixels


def different_sizes(
    first: str, first_size: tuple[int, int], second: str, second_size: tuple[int, int]
) -> DataError:
    """The error for two images that do not go into one batch; sizes are (height, width)."""
    return DataError(
        f"images differ in size: {first} has {first_size[1]}x{first_size[0]} pixels, {second} has "
        f"{second_size[1]}x{second_size[0]}; make them equal, or give an image size to resize and "
        "crop to (--image-size 224, image_size=224)"
    )
