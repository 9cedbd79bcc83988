"""What the trainer runs on images: augmented batches, and their answers."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from ensembles.data import ImageDataset
from ensembles.training.augmentation import padding_colour, shift_and_flip, shrink
from ensembles.training.loader import EpochBatches
from ensembles.training.module import TrainingModule
from ensembles.training.recipes import Recipe

__all__ = ["ImageModule"]


class ImageModule(TrainingModule):
    """A network that is trained on images; see :class:`TrainingModule`."""

    observation = "image"

    def __init__(
        self, model: nn.Module, recipe: Recipe, epochs: int, *, train: ImageDataset, **others: Any
    ) -> None:
        super().__init__(model, recipe, epochs, train=train, **others)
        normalization, self.images = train.normalization, train
        self.colour = padding_colour(recipe, normalization, train.shape[0])
        self.shift = torch.tensor(normalization.mean).view(1, -1, 1, 1) * 255
        self.scale = 1 / (torch.tensor(normalization.std).view(1, -1, 1, 1) * 255)

    def train_dataloader(self) -> EpochBatches:
        """The images of this process, in a new order every epoch."""
        images, labels = self.images.raw()
        return EpochBatches(
            images,
            labels,
            self.recipe.batch_size,
            self.seed,
            rank=self.trainer.global_rank,
            world=self.trainer.world_size,
        )

    def answered(self, batch: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        """Logits and labels of uint8 images (N, C, H, W) and their labels, int64 (N,)."""
        images, labels = batch
        return self.model(self._prepared(images)).float(), labels

    def _prepared(self, images: Tensor) -> Tensor:
        """Augment, normalise and shrink: uint8 to float32, channels last."""
        recipe = self.recipe
        images = shift_and_flip(
            images, recipe.crop_padding, recipe.flip, self.colour, self.augmentation
        )
        if self.shift.device != images.device:
            self.shift, self.scale = self.shift.to(images.device), self.scale.to(images.device)
        images = images.to(torch.float32).sub_(self.shift).mul_(self.scale)
        return shrink(images, self.resolution)
