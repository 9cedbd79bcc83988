"""Values that no trained network has."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from ensembles.errors import CheckpointError

from .misfit import some

__all__ = ["check_values"]


def check_values(state: Mapping[str, Tensor], origin: str = "the checkpoint") -> None:
    """Refuse weights that no trained network has.

    Args:
        state: Tensors by name.
        origin: What to call them in an error.

    Raises:
        CheckpointError: When a value is not finite in single precision, or the running variance of
            a BatchNorm is negative; the first tensors are named.
    """
    wrong = []
    for name, value in state.items():
        if not value.is_floating_point() or name.endswith("num_batches_tracked"):
            continue
        single = value.detach().float()
        finite = torch.isfinite(single)
        if not bool(finite.all()):
            wrong.append(f"{name} has {_count_of(~finite)} NaN or infinite")
        elif name.endswith("running_var") and bool((single < 0).any()):
            wrong.append(f"{name} has {_count_of(single < 0)} negative variances")
    if wrong:
        raise CheckpointError(f"{origin} is refused: {some(wrong)}")


def _count_of(mask: Tensor) -> str:
    return f"{int(mask.sum())} of {mask.numel()} values" if mask.ndim else "its value"
