"""A training that takes a second: little images, and a recipe for them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch

from ensembles.data import ImageDataset, Normalization
from ensembles.data.sources import MemorySource
from ensembles.training import TrainingResult, load_recipe, train

QUICK = replace(load_recipe("digits"), name="quick", batch_size=16, epochs=2, crop_padding=1)


def squares(count: int, split: str, classes: int = 3, side: int = 8) -> ImageDataset:
    """Images whose brightness tells the class."""
    generator = torch.Generator().manual_seed(len(split))
    labels = torch.arange(count) % classes
    noise = torch.randint(0, 40, (count, 3, side, side), generator=generator)
    images = (noise + 80 * labels.view(-1, 1, 1, 1)).to(torch.uint8)
    names = tuple("abcdefgh"[:classes])
    return ImageDataset(
        "squares", split, names, MemorySource(images, labels), Normalization.parse("none")
    )


DATA = (squares(49, "train"), squares(30, "test"))


def quick(out: Path, **options: object) -> TrainingResult:
    settings = {"recipe": QUICK, "device": "cpu", "precision": "fp32", "seed": 3} | options
    return train("preresnet20", DATA, out=out, **settings)  # type: ignore[arg-type]


def epochs_of(out: Path) -> list[tuple[str, str]]:
    """Loss and train accuracy of each epoch, to the last digit."""
    rows = [line.split(",") for line in (out / "history.csv").read_text().splitlines()]
    loss, accuracy = rows[0].index("loss"), rows[0].index("train_accuracy")
    return [(row[loss], row[accuracy]) for row in rows[1:]]
