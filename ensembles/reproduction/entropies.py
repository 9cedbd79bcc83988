"""How much there is in a data set: estimates of the entropy of its images and labels, in bits.

None of them is the entropy. Independent pixels and the coder only bound it from above, each by what
it cannot see; the cross-entropy of a network bounds that of the labels given the images.
"""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO
from math import ceil, isqrt
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image

from ensembles.data import ImageDataset
from ensembles.data.digits import digit_levels

__all__ = ["BITS_A_WEIGHT", "coded_bits", "entropies", "independent_bits", "recorded_images"]

BITS_A_WEIGHT = 2
"""A neuron remembers up to two labels of two classes for each weight (MacKay 2003, chapter 40)."""

_CODERS: dict[str, dict[str, Any]] = {
    "PNG": {"format": "PNG", "optimize": True},
    "WebP": {"format": "WEBP", "lossless": True, "quality": 100, "method": 6},
}
Levels = NDArray[np.uint8]


def recorded_images(data: ImageDataset) -> tuple[Levels, NDArray[np.int64]]:
    """Images as they were recorded, and labels.

    Args:
        data: The images, in memory. The embedded digits are taken in their 8 x 8 pixels of 17
            levels, since enlarging adds nothing; equal channels are one.

    Returns:
        (N, C, H, W) and (N,).
    """
    if data.name == "digits":
        images, labels = digit_levels(data.split)
    else:
        images, labels = data.raw()
    if bool((images == images[:, :1]).all()):
        images = images[:, :1]
    return images.numpy(), labels.numpy()


def independent_bits(images: Levels, top: int) -> dict[str, float]:
    """Entropy of an image whose pixels are independent of each other.

    Args:
        images: (N, C, H, W).
        top: The brightest level.

    Returns:
        ``mean image``: each pixel is black or white, white as often as the mean image is bright;
        ``independent pixels``: each has its own distribution of levels, with Miller and Madow's
        correction for the number of images.
    """
    flat = images.reshape(len(images), -1)
    white = flat.mean(axis=0) / top
    binary = sum(_entropy(np.array([one, 1 - one])) for one in white)
    levels = 0.0
    for column in flat.T:
        counts = np.bincount(column)
        seen = int((counts > 0).sum())
        levels += _entropy(counts / len(flat)) + (seen - 1) / (2 * len(flat) * np.log(2))
    return {"mean image": float(binary), "independent pixels": levels}


def coded_bits(images: Levels) -> dict[str, float]:
    """Bits of an image in files of lossless coders, of all images put together in one picture.

    Args:
        images: (N, C, H, W); channels are taken one by one where there are not one or three.

    Returns:
        Bits an image by the name of the coder.
    """
    picture = Image.fromarray(_together(images))
    found = {}
    for name, options in _CODERS.items():
        with BytesIO() as file:
            picture.save(file, **options)
            found[name] = 8 * file.tell() / len(images)
    return found


def entropies(
    images: Levels, labels: NDArray[np.int64], top: int, given_images: float | None = None
) -> pd.DataFrame:
    """Estimates of what there is in training images and their labels.

    Args:
        images: (N, C, H, W).
        labels: (N,).
        top: The brightest level.
        given_images: Mean cross-entropy of the best network's answers in bits, if known.

    Returns:
        One row for each estimate: ``of`` (images or labels), ``estimate``, ``bits_per_image``,
        ``images`` (N), ``bits`` of all of them, and ``weights``: that over two bits a weight.
    """
    each = [("images", name, bits) for name, bits in independent_bits(images, top).items()]
    each += [("images", name, bits) for name, bits in coded_bits(images).items()]
    counts = np.bincount(labels)
    each.append(("labels", "class frequencies", _entropy(counts / counts.sum())))
    if given_images is not None:
        each.append(("labels", "given images, by the best network", given_images))
    table = pd.DataFrame(each, columns=["of", "estimate", "bits_per_image"])
    table["images"] = len(images)
    table["bits"] = table["bits_per_image"] * len(images)
    table["weights"] = table["bits"] / BITS_A_WEIGHT
    return table


def _entropy(shares: Sequence[float] | NDArray[np.float64]) -> float:
    """In bits, of shares that sum to 1."""
    known = np.asarray(shares, float)
    known = known[known > 0]
    return float(-(known * np.log2(known)).sum()) + 0.0


def _together(images: Levels) -> Levels:
    """All images side by side in a picture that is about a square, (H, W) or (H, W, 3)."""
    count, channels, height, width = images.shape
    if channels not in (1, 3):
        return _together(images.reshape(count * channels, 1, height, width))
    columns = isqrt(count)
    rows = ceil(count / columns)
    filled = np.zeros((rows * columns, channels, height, width), np.uint8)
    filled[:count] = images
    grid = filled.reshape(rows, columns, channels, height, width).transpose(0, 3, 1, 4, 2)
    picture = grid.reshape(rows * height, columns * width, channels)
    return picture[..., 0] if channels == 1 else picture
