"""The embedded data set: handwritten digits that come with scikit-learn."""

from __future__ import annotations

import hashlib
from importlib.metadata import version

import torch
from torch import Tensor
from torch.nn import functional

from ensembles.data import cache
from ensembles.data.sources import MemorySource

__all__ = ["CLASSES", "SPLITS", "digit_levels", "load_digits", "test_indices"]

CLASSES = tuple("0123456789")
SPLITS = {"train": 1438, "test": 359}
_FORM = "1"


def load_digits(split: str) -> MemorySource:
    """The handwritten digits of scikit-learn as images of 3 x 32 x 32.

    The 1,797 images of 8 x 8 pixels with 17 grey levels are the test part of the UCI set "Optical
    Recognition of Handwritten Digits" (E. Alpaydin and C. Kaynak, 1998). They are enlarged four
    times bilinearly, which is exact in float32, so the pixels are the same on every machine.

    Args:
        split: ``train`` (1,438 images) or ``test`` (359).
    """
    key = f"{_FORM}, scikit-learn {version('scikit-learn')}"
    slot = f"digits-{split}"
    cached = cache.load(slot, key)
    if cached is not None:
        return cached[0]
    levels, labels = digit_levels(split)
    source = MemorySource(_enlarge(levels.float()), labels)
    cache.save(slot, key, source, CLASSES)
    return source


def digit_levels(split: str) -> tuple[Tensor, Tensor]:
    """The digits as they were recorded.

    Args:
        split: ``train`` or ``test``.

    Returns:
        Grey levels 0 to 16, uint8 (N, 1, 8, 8), and labels, int64 (N,).
    """
    from sklearn import datasets  # noqa: PLC0415 (slow to import)

    grey, labels = datasets.load_digits(return_X_y=True)
    wanted = torch.zeros(len(labels), dtype=torch.bool)
    wanted[torch.tensor(test_indices(labels.tolist()))] = True
    if split == "train":
        wanted = ~wanted
    levels = torch.from_numpy(grey).to(torch.uint8).view(-1, 1, 8, 8)
    return levels[wanted], torch.from_numpy(labels).to(torch.int64)[wanted]


def test_indices(labels: list[int]) -> list[int]:
    """Which digits are held out for the test: a fifth of each class, fixed for ever.

    Within each class, the images are sorted by the sha256 of their index in scikit-learn's order,
    written in decimal; the first fifth (rounded) is the test part. No random generator is asked.

    Args:
        labels: The class of every image, in scikit-learn's order.

    Returns:
        The indices of the test images, ascending.
    """
    chosen: list[int] = []
    for label in sorted(set(labels)):
        members = [index for index, other in enumerate(labels) if other == label]
        members.sort(key=lambda index: hashlib.sha256(str(index).encode()).hexdigest())
        chosen += members[: round(len(members) / 5)]
    return sorted(chosen)


def _enlarge(grey: Tensor) -> Tensor:
    """Levels 0 to 16, float32 (N, 1, 8, 8), to pixels 0 to 255, uint8 (N, 3, 32, 32)."""
    large = functional.interpolate(grey, scale_factor=4, mode="bilinear", align_corners=False)
    # The weights are multiples of 1/8, so 64 times the result is a whole number: rounded exactly.
    whole = (large * 64).to(torch.int32)
    pixels = torch.div(whole * 255 + 512, 1024, rounding_mode="floor").to(torch.uint8)
    return pixels.expand(-1, 3, -1, -1).contiguous()
