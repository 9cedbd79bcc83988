"""Final weights as safetensors, and the card that says what they are."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
from torch import Tensor, nn

from ensembles.errors import CheckpointError
from ensembles.training.files import write_atomically

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

__all__ = ["read_card", "save_weights", "to_toml", "write_card"]


def save_weights(model: nn.Module, path: Path) -> dict[str, Any]:
    """Write a network's parameters and buffers as float32 (or as they are, if whole numbers).

    Args:
        model: The network, on any device.
        path: Where the file goes; it appears whole or not at all.

    Returns:
        The entries ``name``, ``format``, ``size`` (bytes) and ``sha256`` of a card's ``[file]``.
    """
    content = safetensors.torch.save({key: _plain(value) for key, value in _state(model).items()})
    write_atomically(path, lambda file: file.write(content))
    return {
        "name": path.name,
        "format": "safetensors",
        "size": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
    }


def _state(model: nn.Module) -> dict[str, Tensor]:
    return model.state_dict()


def _plain(value: Tensor) -> Tensor:
    value = value.detach().cpu()
    return (value.float() if value.is_floating_point() else value).contiguous()


def write_card(path: Path, card: Mapping[str, Any]) -> None:
    """Write a card, whole or not at all."""
    content = to_toml(card).encode()
    write_atomically(path, lambda file: file.write(content))


def read_card(path: Path) -> dict[str, Any]:
    """Read a card back.

    Raises:
        CheckpointError: When it is no TOML file.
    """
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(
            f"cannot read the card {path}: {error}; remove it and train again"
        ) from None


def to_toml(values: Mapping[str, Any]) -> str:
    """Write texts, numbers, truth values, lists of them, and tables of all these as TOML.

    ``None`` is left out, as TOML has no word for it.

    >>> print(to_toml({"name": "a", "file": {"size": 3}}), end="")
    name = "a"
    <BLANKLINE>
    [file]
    size = 3
    """
    plain = [f"{key} = {_value(value)}" for key, value in values.items() if _is_plain(value)]
    lines = plain
    for key, table in values.items():
        if isinstance(table, Mapping):
            rows = (
                f"{name} = {_value(value)}" for name, value in table.items() if _is_plain(value)
            )
            lines += ["", f"[{key}]", *rows]
    return "\n".join(lines) + "\n"


def _is_plain(value: Any) -> bool:
    return value is not None and not isinstance(value, Mapping)


def _value(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(_value, value)) + "]"
    # TOML writes these as JSON does, except for the character DEL.
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
