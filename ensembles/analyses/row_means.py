"""Means over the observations of each row, and sums over the rows of each part of the data."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ensembles.metrics.members.folds import FOLDS

__all__ = ["by_part", "owners_of", "row_means"]

Array = NDArray[np.float64]


def owners_of(targets: Tensor) -> Tensor:
    """The row of each observation, int64 (observations,).

    Args:
        targets: As a task's batch holds them: (N,), or (N, P) with negative numbers where there is
            no observation.
    """
    if targets.ndim == 1:
        return torch.arange(len(targets), device=targets.device)
    return (targets >= 0).nonzero()[:, 0]


def row_means(values: Tensor, targets: Tensor) -> Tensor:
    """The mean of a value over the observations of each row, (N,); 0 for a row without any.

    Args:
        values: Of each observation, in order, (observations,).
        targets: As for :func:`owners_of`.
    """
    if targets.ndim == 1:
        return values
    owners = owners_of(targets)
    zero = torch.zeros(len(targets), dtype=values.dtype, device=values.device)
    count = zero.index_add(0, owners, torch.ones_like(values)).clamp_min(1)
    return zero.index_add(0, owners, values) / count


def by_part(values: Any) -> Array:
    """Sums over the rows of each part of the data, as the metric `folds` divides them.

    Args:
        values: Of each row, (places, rows).

    Returns:
        (parts, places).
    """
    given = np.asarray(values, float)
    found = np.zeros((FOLDS, len(given)))
    np.add.at(found, np.arange(given.shape[1]) % FOLDS, given.T)
    return found
