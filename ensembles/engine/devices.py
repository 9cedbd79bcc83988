"""Where a network runs and in which precision: the one place that chooses."""

from __future__ import annotations

from typing import Literal, get_args

import torch

from ensembles.errors import UsageError, nearest

__all__ = ["PRECISIONS", "Precision", "choose_device", "device_name", "is_oom"]

Precision = Literal["fp32", "tf32", "bf16"]
PRECISIONS: tuple[Precision, ...] = get_args(Precision)


def choose_device(name: str | torch.device = "auto") -> torch.device:
    """Turn a device's name into a device that is there.

    Args:
        name: "auto" (CUDA, else mps, else the CPU), "cpu", "cuda", "cuda:1" or "mps".

    Raises:
        UsageError: If the name is malformed or the machine has no such device.
    """
    if isinstance(name, torch.device):
        return name
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    kind, _, index = name.partition(":")
    if kind not in ("cpu", "cuda", "mps") or (index and not index.isdigit()):
        raise UsageError(
            f"device '{name}'; expected auto, cpu, cuda, cuda:0 or mps"
            + nearest(name, ["auto", "cpu", "cuda", "mps"])
        )
    there = {
        "cpu": 1,
        "cuda": torch.cuda.device_count() if torch.cuda.is_available() else 0,
        "mps": int(torch.backends.mps.is_available()),
    }[kind]
    if int(index or 0) >= there:
        raise UsageError(f"device '{name}' is not there: this machine has {there} {kind}; use auto")
    return torch.device(name)


def device_name(device: torch.device) -> str:
    """What a device calls itself, for the provenance of a result."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return device.type


def compute_dtype(precision: str, device: torch.device) -> torch.dtype:
    """The type of weights and activations for a precision.

    Raises:
        UsageError: If the precision is unknown or the device lacks it.
    """
    if precision not in PRECISIONS:
        raise UsageError(
            f"precision '{precision}'; expected {', '.join(PRECISIONS)}"
            + nearest(precision, PRECISIONS)
        )
    if precision == "tf32" and device.type != "cuda":
        raise UsageError(
            f"precision 'tf32' needs a CUDA device, found {device.type}; use fp32 or bf16"
        )
    return torch.bfloat16 if precision == "bf16" else torch.float32


def is_oom(error: BaseException) -> bool:
    """Whether an error means that memory ran out, on a GPU or on the CPU."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    text = str(error)
    return isinstance(error, RuntimeError) and (
        "out of memory" in text or "can't allocate memory" in text or "not enough memory" in text
    )
