"""What a training says about itself: the card of its weights, and its epochs."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from ensembles.cards import Card, Measured, card_name
from ensembles.data import ImageDataset
from ensembles.data.texts import TextDataset
from ensembles.training.plan import Plan

__all__ = ["card_of", "history_text"]


def card_of(
    plan: Plan,
    measured: Measured | None,
    precision: str,
    device: str,
    initial_sha256: str | None = None,
    *,
    graphs: str = "",
) -> Card:
    """Describe the final weights of a training.

    Args:
        plan: The training.
        measured: Right answers on the test images.
        precision: Precision of the training, as the trainer names it.
        device: Name of the device that it ran on.
        initial_sha256: sha256 of the file of the initial weights, where they are kept.
        graphs: Whether whole steps were recorded as CUDA graphs, or why not; empty off CUDA.

    Returns:
        The card; file, size and sha256 are left open.
    """
    dataset = Path(plan.train.name).name
    arguments = dict(plan.arguments)
    return Card(
        name=card_name(f"{plan.stem}-{dataset}"),
        architecture=plan.model_name,
        num_classes=arguments.pop("num_classes"),
        arguments=arguments,
        dataset=dataset,
        split=plan.train.split,
        images=len(plan.train),
        content_hash=plan.train.content_hash,
        **_of_data(plan.train),
        training=_plain(
            {
                "recipe": plan.recipe.name,
                "epochs": plan.epochs,
                "seed": plan.seed,
                "stochastic_depth": plan.stochastic_depth,
                "paths_only": plan.paths_only,
                "started_from": None if plan.start is None else plan.start[1].name,
                "started_from_sha256": None if plan.start is None else plan.start[1].sha256,
                "initial_sha256": initial_sha256,
                "precision": precision,
                "device": device,
                "cuda_graphs": graphs or None,
                "torch": str(torch.__version__),
            }
        ),
        recipe=_plain(plan.recipe.hyperparameters()),
        measured=() if measured is None else (measured,),
    )


def _of_data(data: ImageDataset | TextDataset) -> dict[str, Any]:
    """What a card says of how images or texts become what the network takes."""
    if isinstance(data, TextDataset):
        return {"preprocessing": {"tokenizer": data.tokenizer.name, "window": data.cut.length}}
    return {"normalization": str(data.normalization), "classes": data.classes}


def _plain(values: Mapping[str, Any]) -> dict[str, Any]:
    """What TOML can say: no ``None``, and lists for tuples."""
    return {key: _listed(value) for key, value in values.items() if value is not None}


def _listed(value: Any) -> Any:
    return [_listed(entry) for entry in value] if isinstance(value, tuple) else value


def history_text(history: Sequence[Mapping[str, float]]) -> str:
    """The epochs of a training as CSV, one row an epoch."""
    text = io.StringIO()
    columns = list(dict.fromkeys(name for row in history for name in row)) or ["epoch"]
    writer = csv.DictWriter(text, columns, lineterminator="\n")  # blank where an epoch has none
    writer.writeheader()
    writer.writerows(history)
    return text.getvalue()
