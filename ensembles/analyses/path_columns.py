"""Columns of a path analysis: means over images in a range of numbers that floats do not have.

All norms come as base-2 logarithms, since a path through hundreds of branches can carry less than
the smallest float. A column holds the number itself (0.0 below 5e-324), the column of the same name
with ``_log10`` its logarithm, which is never lost.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "Samples",
    "linear",
    "log2_count",
    "log10",
    "mean_over_images",
    "relative",
    "rms_over_draws",
]  # fmt: skip

Array = NDArray[np.float64]
_LOG10_OF_2 = math.log10(2)


def linear(log2: Array) -> Array:
    """Powers of two, without warnings where they leave the range."""
    with np.errstate(over="ignore", under="ignore"):
        return np.asarray(np.exp2(log2), dtype=np.float64)


def log10(log2: Array) -> Array:
    """Base-10 logarithms from base-2 ones."""
    return log2 * _LOG10_OF_2


def log2_count(count: int) -> float:
    """Base-2 logarithm of an integer of any size; -inf for 0."""
    return math.log2(count) if count else -math.inf


def _scaled(log2: Array, axis: int) -> tuple[Array, Array]:
    """Numbers over their greatest along an axis, and the logarithm of that."""
    top = np.max(log2, axis=axis, keepdims=True)
    top = np.where(np.isfinite(top), top, 0.0)
    return linear(log2 - top), np.squeeze(top, axis)


def mean_over_images(log2: Array) -> tuple[Array, Array]:
    """Mean over the last axis, as base-2 logarithm, and the standard deviation, as such too."""
    values, top = _scaled(log2, -1)
    with np.errstate(divide="ignore"):
        mean = np.log2(values.mean(-1)) + top
        spread = np.log2(values.std(-1, ddof=1 if values.shape[-1] > 1 else 0)) + top
    return mean, spread


def rms_over_draws(
    log2: Array, owners: NDArray[np.int64], counts: Sequence[int]
) -> tuple[Array, Array]:
    """The RMS norm of a single path from sums with random signs.

    Args:
        log2: (lengths, draws).
        owners: The image of each draw, (draws,); every image has some.
        counts: Number of paths of each length.

    Returns:
        Base-2 logarithms (lengths, images) of the RMS norm, and its standard error over draws as
        a share of it (delta method).
    """
    each = [_mean_square(log2[:, owners == image]) for image in range(int(owners.max()) + 1)]
    found, share = (np.stack(column, 1) for column in zip(*each, strict=True))
    return (found - _logs(counts)[:, None]) / 2, share


def _mean_square(log2: Array) -> tuple[Array, Array]:
    """Base-2 logarithm of the mean square, and the relative error of its root, (lengths,)."""
    squares, top = _scaled(2 * log2, 1)
    mean = squares.mean(1)
    draws = squares.shape[1]
    with np.errstate(divide="ignore", invalid="ignore"):
        share = squares.std(1, ddof=1) / mean / math.sqrt(draws) / 2 if draws > 1 else mean * np.nan
        return np.log2(mean) + top, np.where(mean > 0, share, 0.0)


def _logs(counts: Sequence[int]) -> Array:
    return np.array([log2_count(count) if count else 0.0 for count in counts])


def relative(values_log10: Array, counts: Sequence[int] | None = None) -> Array:
    """Numbers over their greatest, times their counts: a measure whose scale does not matter."""
    logs = values_log10 / np.log10(2)
    if counts is not None:
        logs = logs + np.array([log2_count(count) for count in counts])
    top = np.max(logs)
    return linear(logs - top) if np.isfinite(top) else np.zeros_like(logs)


class Samples:
    """Drawn single paths of every length: weighted means over the draws of each image.

    Args:
        log2: Norms, base-2 logarithms (lengths, draws).
        log_weights: Natural logarithms of their weights, alike.
        owners: The image of each, alike; every image has draws of every length.
    """

    def __init__(self, log2: Array, log_weights: Array, owners: NDArray[np.int64]) -> None:
        # Draws of one image stand together, so that its own can be drawn anew.
        order = np.argsort(owners, axis=1, kind="stable")
        joined = np.take_along_axis(log2 + log_weights / math.log(2), order, 1)
        self.owners = np.take_along_axis(owners, order, 1)
        self.images = int(owners.max()) + 1
        self.counts = np.stack([np.bincount(row, minlength=self.images) for row in owners])
        self._squares = np.take_along_axis(2 * log2 + log_weights / math.log(2), order, 1)
        self.values, self.top = _scaled(joined, 1)

    def mean(self) -> Array:
        """The mean over images of the mean norm, as base-2 logarithm (lengths,)."""
        with np.errstate(divide="ignore"):
            found: Array = np.log2(self._by_image(self.values).mean(1)) + self.top
        return found

    def error(self) -> Array:
        """Its standard error over draws (over images where each has one draw), (lengths,)."""
        means = self._by_image(self.values)
        if self.counts.min() > 1:
            gaps = (self.values - np.take_along_axis(means, self.owners, 1)) ** 2
            variance = self._by_image(gaps) / (self.counts - 1)
            error = np.sqrt(variance.sum(1)) / self.images
        elif self.images > 1:
            error = means.std(1, ddof=1) / math.sqrt(self.images)
        else:
            error = np.full(len(means), np.nan)
        found: Array = linear(self.top) * error
        return found

    def rms(self) -> Array:
        """The mean over images of the RMS norm of the drawn paths, as base-2 logarithm."""
        squares, top = _scaled(self._squares, 1)
        with np.errstate(divide="ignore"):
            each = (np.log2(self._by_image(squares)) + top[:, None]) / 2
        return mean_over_images(each)[0]

    def interval(self, seed: int, rounds: int = 1000) -> tuple[Array, Array]:
        """The 95 % percentile interval of the mean, by drawing anew within each image.

        Args:
            seed: Seed of the random draws.
            rounds: How often all draws are drawn anew.
        """
        random = np.random.default_rng(seed)
        bounds = np.empty((len(self.values), 2))
        for length, (values, owners) in enumerate(zip(self.values, self.owners, strict=True)):
            size = self.counts[length]
            weight = 1 / (size * self.images)
            first = np.cumsum(size) - size
            if size.min() > 1:
                places = random.random((rounds, len(values))) * size[owners]
                means = (values * weight[owners])[first[owners] + places.astype(np.int64)].sum(1)
            else:
                each = np.bincount(owners, values * weight[owners], self.images)
                means = each[random.integers(self.images, size=(rounds, self.images))].sum(1)
            bounds[length] = np.quantile(means, (0.025, 0.975))
        bounds *= linear(self.top)[:, None]
        return bounds[:, 0], bounds[:, 1]

    def tail_share(self) -> Array:
        """The part of the sum that the greatest hundredth of the draws hold, (lengths,).

        Each image's draws are divided by their mean, so that differences of images do not count.
        """
        means = np.take_along_axis(self._by_image(self.values), self.owners, 1)
        over = np.where(means > 0, self.values / np.where(means > 0, means, 1), 0.0)
        flat = np.sort(over, axis=1)
        count = max(1, flat.shape[1] // 100)
        total = flat.sum(1)
        return np.where(total > 0, flat[:, -count:].sum(1) / np.where(total > 0, total, 1), np.nan)

    def _by_image(self, values: Array) -> Array:
        """Means over the draws of each image, (lengths, images)."""
        sums = [
            np.bincount(owners, row, self.images)
            for owners, row in zip(self.owners, values, strict=True)
        ]
        return np.stack(sums) / self.counts
