"""Functions of sets: Shapley values, and energy by order of interaction.

Sources: L. S. Shapley, "A value for n-person games" (1953); R. O'Donnell, "Analysis of Boolean
functions" (2014), chapter 8, for the functions of Fourier and Walsh where each item is in a set
with probability p: of one item (x - p) / sqrt(p (1 - p)), x saying whether it is in the set, and
products of these.
"""

from __future__ import annotations

from math import comb

import numpy as np
from numpy.typing import NDArray

from ensembles.statistics.jackknife import Estimates, jackknife

__all__ = ["EXACT_BLOCKS", "energy_of_first_order", "exact_energies", "exact_shapley"]

Array = NDArray[np.float64]
EXACT_BLOCKS = 12
"""Up to so many items all sets are looked at."""


def exact_shapley(n: int, values: Array) -> Array:
    """Shapley value of each item, from the values of all sets.

    Args:
        n: How many items.
        values: Value of each set, (2^n,); bit i of its place says whether item i is in it.

    Returns:
        (n,); they add up to the value of the whole less that of the empty set.
    """
    sizes = np.array([code.bit_count() for code in range(2**n)])
    weights = np.array([1 / (n * comb(n - 1, size)) for size in range(n)])
    found = []
    for item in range(n):
        without = np.array([code for code in range(2**n) if not code >> item & 1])
        gains = values[without | 1 << item] - values[without]
        found.append(float((weights[sizes[without]] * gains).sum()))
    return np.array(found)


def exact_energies(n: int, values: Array, share: float) -> Array:
    """Share of the variance over random sets of each order of interaction.

    Args:
        n: How many items.
        values: Value of each set, (2^n,); bit i of its place says whether item i is in it.
        share: Probability with which each item is in a set.

    Returns:
        Of orders 1 to n; NaN where the values do not vary.
    """
    outside, inside = np.sqrt(1 - share), np.sqrt(share)
    coefficients = np.asarray(values, float)
    for item in range(n):  # one item after the other: a transform of 2 x 2 for each
        pairs = coefficients.reshape(2 ** (n - 1 - item), 2, 2**item)
        without, within = pairs[:, 0], pairs[:, 1]
        mean = (1 - share) * without + share * within
        change = inside * outside * (within - without)
        coefficients = np.stack([mean, change], 1).reshape(-1)
    orders = np.array([code.bit_count() for code in range(2**n)])
    energies = np.bincount(orders, coefficients**2, n + 1)[1:]
    total = energies.sum()
    return energies / total if total > 0 else np.full(n, np.nan)


def energy_of_first_order(inside: NDArray[np.bool_], values: Array, share: float) -> Estimates:
    """Share of the variance over random sets that single items explain, from some of the sets.

    The squared coefficients are averages over pairs of different sets, which have no bias, so that
    a share may come out negative or above 1 by chance.

    Args:
        inside: Whether each item is in each set, (sets, n).
        values: Value of each set, (sets,).
        share: Probability with which each item is in a set.

    Returns:
        One number with its interval over sets; NaN where the values do not vary.
    """
    n = inside.shape[1]
    characters = (inside - share) / np.sqrt(share * (1 - share))
    v, size = np.asarray(values, float)[:, None], (characters**2).sum(1, keepdims=True)
    ones = np.ones_like(v)
    parts = np.hstack([characters, characters * v, size, size * v, size * v**2, v, v**2, ones])

    def statistic(sums: Array) -> float:
        plain, weighted = sums[:n], sums[n : 2 * n]
        sizes, sizes_v, sizes_v2, total, squares, count = sums[2 * n :]
        mean = total / count
        own = sizes_v2 - 2 * mean * sizes_v + mean**2 * sizes
        energy = float(((weighted - mean * plain) ** 2).sum() - own) / (count * (count - 1))
        variance = (squares - count * mean**2) / (count - 1)
        return energy / variance if variance > 0 else float("nan")

    return jackknife(statistic, parts)
