"""Products of groups of rows with a matrix each, as in mixtures of experts, in any precision."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["GROUPED", "grouped_product"]

GROUPED: set[Any] = {
    found
    for home, name in ((F, "grouped_mm"), (torch, "_grouped_mm"))
    if (found := getattr(home, name, None)) is not None
}
"""The functions of torch for it, where it has them; they know no double precision."""


def grouped_product(x: Tensor, weights: Tensor, *args: Any, **named: Any) -> Tensor:
    """What torch gives; in double precision group by group.

    Args:
        x: The rows of all groups, one after the other, (rows, width).
        weights: A matrix for each group, (groups, width, outputs).
        args: As torch's function takes them.
        named: As torch's function takes them; ``offs`` holds the end of each group.
    """
    offs = named.get("offs", args[0] if args else None)
    if x.dtype != torch.float64 or not isinstance(offs, Tensor) or (x.ndim, weights.ndim) != (2, 3):
        function: Any = getattr(F, "grouped_mm", None) or torch._grouped_mm
        out: Tensor = function(x, weights, *args, **named)
        return out
    ends = [int(end) for end in offs.tolist()]
    starts = [0, *ends[:-1]]
    parts = [x[a:b] @ weights[group] for group, (a, b) in enumerate(zip(starts, ends, strict=True))]
    rest = x.new_zeros(len(x) - ends[-1], weights.shape[-1])
    return torch.cat([*parts, rest])
