"""Whether a head answers each token by its own state, so that its logits can be had in pieces."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["answers_each_alone"]

_ROUNDING = 1e-5
"""Of the greatest logit: what fewer rows in a product may change."""


def answers_each_alone(head: nn.Module, states: Any) -> bool:
    """Whether the halves of a window have the logits by themselves that they have together.

    Args:
        head: From states to logits.
        states: What it reads: (N, T, width), of which the first window is tried.
    """
    if not isinstance(states, Tensor) or states.ndim != 3 or states.shape[1] < 2:
        return False
    row, half = states[:1], states.shape[1] // 2
    whole = head(row)
    try:
        halves = [head(row[:, :half]), head(row[:, half:])]
    except RuntimeError:  # it is written for windows of one length
        return False
    if any(one.ndim != 3 for one in halves):
        return False
    apart = torch.cat(halves, 1)
    if apart.shape != whole.shape:
        return False
    return bool((apart - whole).abs().max() <= _ROUNDING * whole.abs().max())
