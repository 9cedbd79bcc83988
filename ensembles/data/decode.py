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

from ensembles.data.pixels import Preprocessing
from ensembles.errors import DataError

__all__ = [
    "EXTENSIONS",
    "decode",
    "different_sizes",
    "output_size",
    "prepared",
    "unreadable",
    "workers",
]

EXTENSIONS = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")

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


def output_size(path: str, how: Preprocessing) -> tuple[int, int]:
    """Height and width that an image will have, read from its header only.

    Args:
        path: The image file.
        how: What is done to it.

    Raises:
        DataError: When the file is no readable image.
    """
    if how.size is not None:
        return how.size
    try:
        with Image.open(path, formats=_FORMATS) as image:
            return how.size_of(image.height, image.width)
    except _DAMAGE as error:
        raise unreadable(path, error) from error


def decode(
    paths: Sequence[str],
    how: Preprocessing,
    expected: tuple[int, int],
    *,
    reference: str,
    progress: str | None = None,
) -> Tensor:
    """Decode image files to one tensor, with several threads and in the order given.

    Args:
        paths: The files.
        how: What is done to each.
        expected: Height and width that every image must have afterwards.
        reference: The file that ``expected`` was read from, for the error message.
        progress: Title of a progress bar on standard error, or None for no bar.

    Returns:
        uint8 tensor (N, C, H, W).

    Raises:
        DataError: Naming the first file in order that is damaged or of another size.
    """
    pixels = np.empty((len(paths), how.channels, *expected), dtype=np.uint8)
    threads = workers()
    chunk = min(_CHUNK, -(-len(paths) // (4 * threads)))

    def work(start: int) -> int:
        stop = min(start + chunk, len(paths))
        for index in range(start, stop):
            image = _read(paths[index], how)
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


def _read(path: str, how: Preprocessing) -> NDArray[np.uint8]:
    """One image as an array (H, W, C)."""
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
    return prepared(image, how)


def prepared(image: Image.Image, how: Preprocessing) -> NDArray[np.uint8]:
    """An image of the mode RGB as an array (H, W, C), its channels in their order."""
    pixels = np.atleast_3d(np.asarray(how.apply(image), dtype=np.uint8))
    return pixels[..., ::-1] if how.colours == "bgr" else pixels


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
