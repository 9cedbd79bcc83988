"""Where a network runs and in which precision: the one place that chooses."""

from __future__ import annotations

import copy
import re
from typing import Literal, get_args

import torch

from ensembles.decomposition import Decomposition
from ensembles.errors import UsageError, nearest

__all__ = [
    "PRECISIONS",
    "Precision",
    "choose_device",
    "compute_dtype",
    "default_batch_size",
    "device_name",
    "home_of",
    "movable_copy",
    "sweep_batch_size",
]

_INDEX = re.compile(r"[0-9]{1,9}", re.ASCII)

Precision = Literal["fp32", "tf32", "bf16"]
PRECISIONS: tuple[Precision, ...] = get_args(Precision)
_ACTIVATION_BYTES = {"cpu": 4 << 20, "cuda": 512 << 20, "mps": 128 << 20}
_MOST_ROWS = 2000
_MOST_SWEPT = 1 << 13
"""Rows of a sweep at a time on CUDA."""


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
    if kind not in ("cpu", "cuda", "mps") or (index and _INDEX.fullmatch(index) is None):
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
    return torch.device(f"{kind}:{int(index)}" if index else kind)


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


def home_of(net: Decomposition) -> tuple[torch.device, torch.dtype]:
    """Where a network lies, and the type of its weights."""
    for tensor in (*net.parameters(), *net.buffers()):
        if tensor.is_floating_point():
            return tensor.device, tensor.dtype
    return torch.device("cpu"), torch.float32


def movable_copy(net: Decomposition) -> Decomposition:
    """A copy that can be moved and rounded; the graph of the whole network is left out."""
    return copy.deepcopy(net, {id(net.traced): None})


def default_batch_size(net: Decomposition, device: torch.device) -> int:
    """As many rows as keep the widest activation between blocks to some megabytes."""
    return min(_rows_that_fit(net, device), _MOST_ROWS)


def sweep_batch_size(net: Decomposition, device: torch.device) -> int:
    """The rows of a sweep at a time, which on CUDA are more.

    There they are a power of two, as are the pages of level order, which then hold whole batches.
    """
    if device.type != "cuda":
        return default_batch_size(net, device)
    rows = min(_rows_that_fit(net, device), _MOST_SWEPT)
    return 1 << (rows.bit_length() - 1)


def _rows_that_fit(net: Decomposition, device: torch.device) -> int:
    shapes = [shape for block in net for shape in (block.in_shape, block.out_shape)]
    widest = max(torch.Size(shape).numel() for shape in (*shapes, net.output_shape))
    there = _ACTIVATION_BYTES.get(device.type, _ACTIVATION_BYTES["cpu"])
    return max(there // (4 * widest), 1)
