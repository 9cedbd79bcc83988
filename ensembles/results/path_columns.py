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
    "bootstrap",
    "linear",
    "log2_count",
    "log10",
    "mean_over_images",
    "rms_over_draws",
    "sample_means",
    "tail_share",
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


def rms_over_draws(log2: Array, counts: Sequence[int]) -> tuple[Array, Array]:
    """The RMS norm of a single path from sums with random signs.

    Args:
        log2: (lengths, draws, images).
        counts: Number of paths of each length.

    Returns:
        Base-2 logarithms (lengths, images) of the RMS norm, and its standard error over draws as
        a share of it (delta method).
    """
    squares, top = _scaled(2 * log2, 1)
    mean = squares.mean(1)
    draws = squares.shape[1]
    with np.errstate(divide="ignore", invalid="ignore"):
        share = squares.std(1, ddof=1) / mean / math.sqrt(draws) / 2 if draws > 1 else mean * np.nan
        found = (np.log2(mean) + top - _logs(counts)[:, None]) / 2
    return found, np.where(mean > 0, share, 0.0)


def _logs(counts: Sequence[int]) -> Array:
    return np.array([log2_count(count) if count else 0.0 for count in counts])


def sample_means(log2: Array, log_weights: Array) -> tuple[Array, Array, Array]:
    """The mean norm of single paths, by the draws.

    Args:
        log2: Norms of the draws, (lengths, draws, images).
        log_weights: Natural logarithms of their weights, alike.

    Returns:
        The weighted draws over a power of two for each length, (lengths, draws, images), the
        logarithm of that power, (lengths,), and the standard error of the mean over images, over
        the same power, (lengths,).
    """
    joined = log2 + log_weights / math.log(2)
    top = np.max(joined, axis=(1, 2))
    top = np.where(np.isfinite(top), top, 0.0)
    values = linear(joined - top[:, None, None])
    _, draws, images = values.shape
    if draws > 1:
        error = np.sqrt((values.var(1, ddof=1) / draws).sum(-1)) / images
    else:
        error = values[:, 0].std(-1, ddof=1) / math.sqrt(images) if images > 1 else top * np.nan
    return values, top, error


def bootstrap(values: Array, seed: int, rounds: int = 1000) -> tuple[Array, Array]:
    """The 95 % percentile interval of the mean, by drawing anew within each image.

    Args:
        values: (lengths, draws, images).
        seed: Of the drawing.
        rounds: How often all draws are drawn anew.

    Returns:
        Lower and upper bound, (lengths,).
    """
    random = np.random.default_rng(seed)
    lengths, draws, images = values.shape
    low, high = np.empty(lengths), np.empty(lengths)
    for length in range(lengths):
        means = np.empty(rounds)
        for i in range(rounds):
            if draws > 1:
                picked = random.integers(draws, size=(draws, images))
                means[i] = np.take_along_axis(values[length], picked, 0).mean()
            else:
                means[i] = values[length, 0, random.integers(images, size=images)].mean()
        low[length], high[length] = np.quantile(means, (0.025, 0.975))
    return low, high


def tail_share(values: Array) -> Array:
    """The part of the sum that the greatest hundredth of the draws holds, (lengths,).

    Each image's draws are divided by their mean, so that differences of images do not count.
    """
    means = values.mean(1, keepdims=True)
    over = np.where(means > 0, values / np.where(means > 0, means, 1), 0.0)
    flat = np.sort(over.reshape(len(values), -1), axis=1)
    count = max(1, flat.shape[1] // 100)
    total = flat.sum(1)
    return np.where(total > 0, flat[:, -count:].sum(1) / np.where(total > 0, total, 1), np.nan)
