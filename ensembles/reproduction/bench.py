"""Where the experiments measure: networks, images, lesions and paths, each kept when it is done."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pandas as pd
import torch

import ensembles
from ensembles.checkpoints import Subject, open_subject
from ensembles.data import ImageDataset
from ensembles.data import dataset as open_dataset
from ensembles.lesions import Lesion
from ensembles.reproduction.networks import find_network
from ensembles.reproduction.scale import FULL, Scale
from ensembles.reproduction.spectra import stacked
from ensembles.store import Store

__all__ = ["Bench", "Setting"]

Say = Callable[[str], None]


@dataclass(frozen=True)
class Setting:
    """What the user asks for.

    Attributes:
        dataset: Name or folder of the images.
        model: The residual network.
        checkpoint: Its weights; by default those that a card says were trained on the data.
        plain: The network without shortcuts.
        scale: How much is measured.
        seed: Of all random draws.
        split: Part of the data.
        device: As ``ensembles.lesion`` takes it.
        precision: Of lesions, as ``ensembles.lesion`` takes it.
        published_lesions: The authors' own lesions, as a table with the columns ``lesion``,
            ``blocks`` and ``top1_error``.
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


class Bench:
    """Measures for experiments; what is in its store is not measured again.

    Args:
        setting: What the user asks for.
        store: Where results are kept.
        say: Takes a line about each measurement.
    """

    def __init__(self, setting: Setting, store: Store, say: Say = lambda line: None) -> None:
        self.setting = setting
        self.networks: dict[str, Subject] = {}
        self._store = store
        self.say = say

    @property
    def folder(self) -> Path:
        """Where the results are kept."""
        return self._store.path.parent

    @cached_property
    def data(self) -> ImageDataset:
        """The images of the setting, as many as a lesion is measured on."""
        chosen = self.setting
        return open_dataset(chosen.dataset, chosen.split, limit=chosen.scale.images)

    def residual(self) -> Subject:
        """The residual network of the setting."""
        return self.network(self.setting.model)

    def plain(self) -> Subject:
        """The network without shortcuts."""
        return self.network(self.setting.plain)

    def network(self, architecture: str, kind: str = "ordinary") -> Subject:
        """A trained network, taken apart.

        Args:
            architecture: Its name.
            kind: How it was trained: ``ordinary``, ``stochastic depth`` or ``paths only``.

        Raises:
            NotMeasured: There is no checkpoint of it for these images.
        """
        chosen = self.setting
        if chosen.checkpoint and (architecture, kind) == (chosen.model, "ordinary"):
            return self._open(architecture, chosen.checkpoint)
        card = find_network(architecture, self.setting.dataset, self.data.classes, kind)
        return self._open(architecture, card.name)

    def lesions(self, subject: Subject, lesions: Sequence[Lesion], what: str) -> pd.DataFrame:
        """Measure lesions of a network; those that the store holds are taken from it.

        Args:
            subject: The network and its images.
            lesions: What is done to the blocks.
            what: What is done, for the reader of the progress.

        Returns:
            As :func:`ensembles.lesion`; ``attrs["reshaping"]`` names the blocks that change the
            shape.
        """
        chosen = self.setting
        self.say(f"{what}: {len(lesions)} of {subject.card.name} on {len(subject.data):,} images")
        frame = ensembles.lesion(
            subject.net,
            subject.data,
            lesions,
            device=chosen.device,
            precision=chosen.precision,
            model=subject.card.name,
            store=self._store,
            about={"checkpoint": subject.card.name},
        )
        frame.attrs["reshaping"] = [
            block.index for block in subject.net if block.in_shape != block.out_shape
        ]
        return frame

    def spectra(self, subject: Subject) -> pd.DataFrame:
        """Analyse the paths of a network image by image; each is kept when it is done.

        Args:
            subject: The network and its images.

        Returns:
            As :func:`ensembles.reproduction.spectra.stacked`.
        """
        scale, chosen = self.setting.scale, self.setting
        total = len(subject.data)
        images = min(scale.path_images, total)
        self.say(f"path lengths: {subject.card.name}, {images} images one by one")
        frames = []
        for place in range(images):
            image, label = subject.data[place * total // images]
            frames.append(
                ensembles.paths(
                    subject.net,
                    [(image[None], torch.tensor([label]))],
                    method="all",
                    images=1,
                    signs=scale.signs,
                    samples=scale.samples,
                    seed=chosen.seed + place,
                    device=chosen.device,
                    model=subject.card.name,
                    store=self._store,
                    about={"checkpoint": subject.card.name},
                )
            )
        whole = stacked(frames)
        whole.attrs["dataset"] = subject.data.name
        return whole

    def _open(self, architecture: str, checkpoint: str) -> Subject:
        if checkpoint not in self.networks:
            chosen = self.setting
            self.networks[checkpoint] = open_subject(
                architecture,
                checkpoint,
                dataset=chosen.dataset,
                split=chosen.split,
                limit=chosen.scale.images,
                device=chosen.device,
                check=False,
            )
        return self.networks[checkpoint]
