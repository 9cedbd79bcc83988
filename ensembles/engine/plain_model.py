"""The error of a plain network, counted observation by observation."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from ensembles.data.texts import TextDataset
from ensembles.decomposition.inputs import Inputs, called, mapped, named_tensors
from ensembles.engine.devices import choose_device, compute_dtype
from ensembles.errors import DataError, EvaluationError
from ensembles.numerics import exact_mathematics
from ensembles.tasks.members.classification import MEMBER as CLASSIFICATION
from ensembles.tasks.members.language import MEMBER as LANGUAGE

__all__ = ["count_correct"]

_LOGITS = 1 << 24
"""Logits of a batch of windows, at most."""


def count_correct(
    model: nn.Module,
    data: Dataset[Any] | Iterable[Any],
    batch_size: int = 250,
    *,
    device: str | torch.device = "cpu",
    precision: str = "fp32",
    diverging: bool = False,
) -> tuple[int, int]:
    """Count the observations whose largest logit is that of their label.

    Args:
        model: Maps images (N, C, H, W), or other rows of inputs, to (N, classes); or, for a text,
            ids (N, T) to (N, T, tokens). It is run in evaluation mode, and left where and in the
            mode that it was in.
        data: As for ``ensembles.data.batches``, or a text, whose observations are the tokens from
            the second of each window on.
        batch_size: Images or windows at a time; fewer windows where their logits would be many.
        device: As ``choose_device`` takes it.
        precision: "fp32", "tf32" (CUDA) or "bf16" (automatic mixed precision).
        diverging: Whether an image whose logits are not finite counts as wrong, rather than being
            an error: for a network that is still being trained.

    Returns:
        Observations that are right, and observations.

    Raises:
        UsageError: When there is no such device or precision.
        DataError: When the model does not take these images, or there are none.
        EvaluationError: When a logit is not finite.
    """
    place = choose_device(device)
    task = LANGUAGE if isinstance(data, TextDataset) else CLASSIFICATION
    if isinstance(data, TextDataset):
        batch_size = max(1, min(batch_size, _LOGITS // (data.cut.length * data.tokenizer.size)))
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
            for batch in task.batches(data, batch_size):
                logits = _logits(runner, batch.inputs, place)
                answers = task.answers(logits, batch.targets)
                if not (diverging or bool(answers.finite.all())):
                    raise EvaluationError(
                        f"the model gives logits that are NaN or infinite on these "
                        f"{task.observation}s; check the weights and the normalisation"
                    )
                correct += int(answers.right.sum())
                total += len(answers)
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
