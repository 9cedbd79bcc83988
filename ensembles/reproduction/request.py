"""What the user of a reproduction asks for."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ensembles.reproduction.scale import FULL, Scale

__all__ = ["Request"]


@dataclass(frozen=True)
class Request:
    """What is measured on what.

    Attributes:
        dataset: Name or folder of the images.
        model: The residual network.
        checkpoint: Its weights; by default those that a card says were trained on the data.
        plain: The network without shortcuts.
        scale: How much is measured.
        seed: Seed of all random draws.
        split: Part of the data.
        device: As ``ensembles.lesion`` takes it.
        precision: Precision of lesions, as ``ensembles.lesion`` takes it.
        published_lesions: The authors' own lesions, as a table with the columns ``lesion``,
            ``blocks`` and ``top1_error``.
        published_layers: The results of Gavrikov et al. (2024) on single layers, for figures.
    """

    dataset: str = "digits"
    model: str = "preresnet110"
    checkpoint: str | None = None
    plain: str = "vgg15"
    scale: Scale = FULL
    seed: int = 0
    split: str = "test"
    device: str = "auto"
    precision: str = "fp32"
    published_lesions: Path | None = None
    published_layers: Path | None = None
