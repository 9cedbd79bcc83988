"""From image files to arrays of pixels, many at a time."""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from ensembles.errors import DataError, UsageError

__all__ = [
    "EXTENSIONS",
    "ImageSize",
    "check_image_size",
    "decode",
    "different_sizes",
    "output_size",
    "unreadable",
    "workers",
]

EXTENSIONS = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")

ImageSize = int | tuple[int, int] | None
"""``crop``, or ``(resize, crop)``: the shorter side becomes ``resize``, then a square is cut."""

# Some other formats that Pillow opens by content hand the file to an outside program.
_FORMATS = ("JPEG", "PNG", "PPM", "BMP", "TIFF", "WEBP", "GIF")
_DAMAGE = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    IndexError,
    TypeError,
    OverflowError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
)
_CHUNK = 64


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


def output_size(path: str, size: tuple[int, int] | None) -> tuple[int, int]:
    """Height and width that an image will have, read from its header only.

    Args:
        path: The image file.
        size: (resize, crop), or None for images taken as they are.

    Raises:
        DataError: When the file is no readable image.
    """
    if size is not None:
        return size[1], size[1]
    try:
        with Image.open(path, formats=_FORMATS) as image:
            return image.height, image.width
    except _DAMAGE as error:
        raise unreadable(path, error) from error


def decode(
    paths: Sequence[str],
    size: tuple[int, int] | None,
    expected: tuple[int, int],
    *,
    reference: str,
    progress: str | None = None,
) -> Tensor:
    """Decode image files to one tensor, with several threads and in the order given.

    Args:
        paths: The files.
        size: (resize, crop), or None for images taken as they are.
        expected: Height and width that every image must have afterwards.
        reference: The file that ``expected`` was read from, for the error message.
        progress: Title of a progress bar on standard error, or None for no bar.

    Returns:
        uint8 tensor (N, 3, H, W).

    Raises:
        DataError: Naming the first file in order that is damaged or of another size.
    """
    pixels = np.empty((len(paths), 3, *expected), dtype=np.uint8)
    threads = workers()
    chunk = min(_CHUNK, -(-len(paths) // (4 * threads)))

    def work(start: int) -> int:
        stop = min(start + chunk, len(paths))
        for index in range(start, stop):
            image = _read(paths[index], size)
            if image.shape[:2] != expected:
                found = (image.shape[0], image.shape[1])
                raise different_sizes(reference, expected, paths[index], found)
            pixels[index] = image.transpose(2, 0, 1)
        return stop - start

    bar = tqdm(
        total=len(paths),
        desc=progress,
        unit="image",
        delay=1,
        leave=False,
        disable=None if progress else True,
    )
    with bar, ThreadPoolExecutor(threads) as pool:
        for done in pool.map(work, range(0, len(paths), chunk)):
            bar.update(done)
    return torch.from_numpy(pixels)


def _read(path: str, size: tuple[int, int] | None) -> NDArray[np.uint8]:
    """One image as an array (H, W, 3)."""
    try:
        with Image.open(path, formats=_FORMATS) as file:
            if file.mode.startswith(("I", "F")):
                raise DataError(
                    f"{path} has pixels of mode {file.mode}; expected 8 bits a channel, "
                    "so convert the file first"
                )
            # Straight to RGB, Pillow warns of palettes with transparency; the colours are the same.
            image = (file.convert("RGBA") if file.mode == "P" else file).convert("RGB")
    except _DAMAGE as error:
        raise unreadable(path, error) from error
    if size is not None:
        from torchvision.transforms.v2 import functional  # noqa: PLC0415 (slow to import)

        resize, crop = size
        image = functional.resize(image, [resize], antialias=True)
        image = functional.center_crop(image, [crop, crop])
    return np.asarray(image, dtype=np.uint8)


def unreadable(path: str, error: BaseException) -> DataError:
    """The error for a file that cannot be read or decoded."""
    if isinstance(error, OSError) and error.strerror:
        return DataError(f"cannot read the image {path}: {error.strerror}")
    reason = " ".join(str(error).replace(f"file {path!r}", "file").split()) or type(error).__name__
    size = Path(path).stat().st_size if Path(path).exists() else 0
    return DataError(
        f"cannot decode the image {path} ({size:,} bytes): {reason}; replace or remove the file"
    )


def different_sizes(
    first: str, first_size: tuple[int, int], second: str, second_size: tuple[int, int]
) -> DataError:
    """The error for two images that do not go into one batch; sizes are (height, width)."""
    return DataError(
        f"images differ in size: {first} has {first_size[1]}x{first_size[0]} pixels, {second} has "
        f"{second_size[1]}x{second_size[0]}; make them equal, or give an image size to resize and "
        "crop to"
    )
