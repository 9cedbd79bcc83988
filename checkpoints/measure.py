"""The error of a model, counted image by image."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import nn
from torch.utils.data import Dataset

from ensembles.data import batches
from ensembles.errors import CheckpointError

__all__ = ["count_correct"]


@torch.no_grad()
def count_correct(
    model: nn.Module, data: Dataset[Any] | Iterable[Any], batch_size: int = 500
) -> tuple[int, int]:
    """Count the images whose largest logit is that of their label, in fp32 on the CPU.

    Args:
        model: Maps (N, C, H, W) to (N, classes); it is run in evaluation mode, and left in the mode
            that it was in.
        data: As for ``ensembles.data.batches``.
        batch_size: Images at a time.

    Returns:
        Images that are right, and images.

    Raises:
        CheckpointError: When a logit is not finite, or the model does not take these images.
    """
    correct = total = 0
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        for images, labels in batches(data, batch_size):
            logits = _logits(model, images)
            correct += int((logits.argmax(1) == labels).sum())
            total += len(labels)
    finally:
        for module, training in modes.items():
            module.training = training
    return correct, total


def _logits(model: nn.Module, images: torch.Tensor) -> torch.Tensor:
    try:
        logits: torch.Tensor = model(images)
    except RuntimeError as error:
        shape = "x".join(map(str, images.shape[1:]))
        reason = " ".join(str(error).split())[:200]
        raise CheckpointError(f"the model does not take images of {shape}: {reason}") from error
    if not bool(torch.isfinite(logits).all()):
        raise CheckpointError("the model gives logits that are NaN or infinite on these images")
    return logits
