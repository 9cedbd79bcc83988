"""The weights of a network as a file."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

import safetensors.torch
import torch
from torch import Tensor, nn

from ensembles.files import atomic, refusals

__all__ = ["weights_of", "write_weights"]


def weights_of(model: nn.Module, *, half: bool = False) -> dict[str, Tensor]:
    """Parameters and buffers of a network, on the CPU, as they are written.

    Args:
        model: The network, on any device; its tensors are copied.
        half: Whether floating-point numbers become float16 rather than float32.
    """
    dtype = torch.float16 if half else torch.float32
    state = {name: value.detach().cpu() for name, value in model.state_dict().items()}
    return {
        name: (value.to(dtype) if value.is_floating_point() else value).clone(
            memory_format=torch.contiguous_format
        )
        for name, value in state.items()
    }


def write_weights(
    state: Mapping[str, Tensor], path: Path, metadata: Mapping[str, str] | None = None
) -> tuple[int, str]:
    """Write tensors as safetensors, all or nothing.

    Args:
        state: Contiguous tensors on the CPU, by name.
        path: The file; its folder is made.
        metadata: What the file says of itself.

    Returns:
        Size of the file in bytes, and its sha256 in hexadecimal.

    Raises:
        OutputError: When it cannot be written.
    """
    told = None if metadata is None else dict(metadata)
    content = safetensors.torch.save(dict(state), metadata=told)
    with refusals(f"checkpoint {path}"), atomic(path) as scratch:
        scratch.write_bytes(content)
    return len(content), hashlib.sha256(content).hexdigest()
