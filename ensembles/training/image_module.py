"""What the trainer runs on images: augmented batches, and their answers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from ensembles.data import ImageDataset
from ensembles.training.augmentation import draw_moves, moved, padding_colour, shrink
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
            device=self.trainer.strategy.root_device,
        )

    def draw(self, count: int) -> tuple[Tensor, ...]:
        """Shifts and mirror images of a batch."""
        recipe = self.recipe
        return (draw_moves(count, recipe.crop_padding, recipe.flip, self.augmentation),)

    def example(self) -> Tensor:
        """Two images."""
        images, _ = next(self.images.batches(2))
        return shrink(images, self.recipe.resolution(0, self.epochs))

    def answered(
        self, network: Callable[..., Tensor], inputs: Tensor, targets: Tensor, *drawn: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Logits and labels of uint8 images (N, C, H, W) and their labels, int64 (N,)."""
        return network(self._prepared(inputs, *drawn)).float(), targets

    def _prepared(self, images: Tensor, moves: Tensor) -> Tensor:
        """Augment, normalise and shrink: uint8 to float32, channels last."""
        images = moved(images, moves, self.recipe.crop_padding, self.colour)
        images = images.to(torch.float32).sub_(self.shift).mul_(self.scale)
        return shrink(images, self.resolution)

    def on_train_start(self) -> None:
        """Bring colours to the device."""
        self.colour, self.shift, self.scale = (
            constant.to(self.device) for constant in (self.colour, self.shift, self.scale)
        )
        super().on_train_start()
