"""The error of a plain network, counted image by image."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from ensembles.data import batches
from ensembles.decomposition.inputs import Inputs, called, mapped, named_tensors
from ensembles.engine.devices import choose_device, compute_dtype
from ensembles.errors import DataError, EvaluationError
from ensembles.metrics.answers import Answers
from ensembles.numerics import exact_mathematics

__all__ = ["count_correct"]


def count_correct(
    model: nn.Module,
    data: Dataset[Any] | Iterable[Any],
    batch_size: int = 250,
    *,
    device: str | torch.device = "cpu",
    precision: str = "fp32",
    diverging: bool = False,
) -> tuple[int, int]:
    """Count the images whose largest logit is that of their label.

    Args:
        model: Maps images (N, C, H, W), or other rows of inputs, to (N, classes). It is run in
            evaluation mode, and left where and in the mode that it was in.
        data: As for ``ensembles.data.batches``.
        batch_size: Images at a time.
        device: As ``choose_device`` takes it.
        precision: "fp32", "tf32" (CUDA) or "bf16" (automatic mixed precision).
        diverging: Whether an image whose logits are not finite counts as wrong, rather than being
            an error: for a network that is still being trained.

    Returns:
        Images that are right, and images.

    Raises:
        UsageError: When there is no such device or precision.
        DataError: When the model does not take these images, or there are none.
        EvaluationError: When a logit is not finite.
    """
    place = choose_device(device)
    bf16 = compute_dtype(precision, place) == torch.bfloat16
    runner = _placed(model, place)
    modes = {module: module.training for module in runner.modules()}
    correct = total = 0
    runner.eval()
    try:
        with (
            torch.no_grad(),
            exact_mathematics(precision),
            torch.autocast(place.type, torch.bfloat16) if bf16 else nullcontext(),
        ):
            for inputs, labels in batches(data, batch_size):
                logits = _logits(runner, inputs, place)
                finite = torch.isfinite(logits).all(1)
                if not (diverging or bool(finite.all())):
                    raise EvaluationError(
                        "the model gives logits that are NaN or infinite on these images; check "
                        "the weights and the normalisation"
                    )
                correct += int((Answers.of(logits, labels).predicted.eq(labels) & finite).sum())
                total += len(labels)
    finally:
        for module, training in modes.items():
            module.training = training
    if not total:
        raise DataError("the data set holds no image; expected one or more")
    return correct, total


def _placed(model: nn.Module, device: torch.device) -> nn.Module:
    """The model where it is, or a copy of it on another device."""
    first = next(model.parameters(), None)
    if first is None or torch.empty(0, device=device).device == first.device:
        return model
    return copy.deepcopy(model).to(device)


def _logits(model: nn.Module, inputs: Inputs, device: torch.device) -> Tensor:
    def moved(tensor: Tensor) -> Tensor:
        layout = torch.channels_last if tensor.ndim == 4 else torch.preserve_format
        return tensor.to(device, memory_format=layout)

    try:
        logits: Tensor = called(model, mapped(moved, inputs))
    except RuntimeError as error:
        tensors = named_tensors(inputs).values()
        shapes = " and ".join("x".join(map(str, tensor.shape[1:])) for tensor in tensors)
        reason = " ".join(str(error).split())[:200]
        raise DataError(f"the model does not take images of {shapes}: {reason}") from error
    return logits.float().cpu()
