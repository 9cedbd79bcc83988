"""Final weights as safetensors, and the card that says what they are."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor, nn

from ensembles.errors import CheckpointError
from ensembles.models import architecture
from ensembles.training.files import write_atomically
from ensembles.training.measuring import Measured
from ensembles.training.plan import Plan

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

__all__ = ["card_of", "history_text", "read_card", "save_weights", "to_toml"]


def save_weights(model: nn.Module, path: Path) -> dict[str, Any]:
    """Write a network's parameters and buffers as float32 (or as they are, if whole numbers).

    Args:
        model: The network, on any device.
        path: Where the file goes; it appears whole or not at all.

    Returns:
        The entries ``name``, ``format``, ``size`` (bytes) and ``sha256`` of a card's ``[file]``.
    """
    content = safetensors.torch.save(
        {key: _plain(value) for key, value in model.state_dict().items()}
    )
    write_atomically(path, lambda file: file.write(content))
    return {
        "name": path.name,
        "format": "safetensors",
        "size": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
    }


def _plain(value: Tensor) -> Tensor:
    value = value.detach().cpu()
    return (value.float() if value.is_floating_point() else value).contiguous()


def card_of(plan: Plan, file: Mapping[str, Any], measured: Measured | None) -> dict[str, Any]:
    """Describe the final weights of a training.

    Args:
        plan: The training.
        file: What ``save_weights`` returned.
        measured: Right answers on the test images.

    Returns:
        The card, as ``to_toml`` writes it.
    """
    known = architecture(plan.model_name)
    dataset = Path(plan.train.name).name
    card: dict[str, Any] = {
        "name": f"{plan.stem}-{dataset}",
        "architecture": plan.model_name,
        "library": known.library,
        "paper": known.paper,
        "dataset": dataset,
        "split": plan.train.split,
        "images": len(plan.train),
        "content_hash": plan.train.content_hash,
        "normalization": str(plan.train.normalization),
        "classes": list(plan.train.classes),
        "arguments": plan.arguments,
        "training": {
            "recipe": plan.recipe.name,
            "epochs": plan.epochs,
            "seed": plan.seed,
            "stochastic_depth": plan.stochastic_depth,
            "paths_only": plan.paths_only,
            "torch": torch.__version__,
        },
        "recipe": plan.recipe.hyperparameters(),
        "file": dict(file),
    }
    if measured is not None and plan.test is not None:
        card["measured"] = {
            "dataset": dataset,
            "split": plan.test.split,
            "content_hash": plan.test.content_hash,
            "correct": measured.correct,
            "total": measured.total,
            "error": round(measured.error, 4),
        }
    return card


def history_text(history: Sequence[Mapping[str, float]]) -> str:
    """The epochs of a training as CSV, one row an epoch."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(history[0]) if history else ["epoch"], lineterminator="\n")
    writer.writeheader()
    writer.writerows(history)
    return text.getvalue()


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
